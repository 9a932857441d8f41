use rule measure as scalar_progress with:
    input:
        unpack(needs(run, probes, heads)),
    output:
        **leaves("scalar_progress"),
    params:
        **asks("scalar_progress"),


use rule measure as functional_write with:
    input:
        unpack(needs(run, probes, split, heads)),
    output:
        **leaves("functional_write"),
    params:
        **asks("functional_write"),


use rule measure as shared_features with:
    input:
        unpack(needs(run, split)),
    output:
        **leaves("shared_features"),
    params:
        **asks("shared_features"),
