use rule measure as example_gradients with:
    input:
        unpack(needs(run, probes, splits, heads)),
    output:
        **leaves("example_gradients"),
    params:
        **asks("example_gradients"),
