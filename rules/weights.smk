use rule measure as weight_svd with:
    input:
        unpack(needs(run, other("births", "windows"))),
    output:
        **leaves("weight_svd"),


use rule measure as embedding_alignment with:
    input:
        unpack(needs(run, heads)),
    output:
        **leaves("embedding_alignment"),


use rule measure as update_geometry with:
    input:
        unpack(needs(run, train, measured_window, heads)),
    output:
        **leaves("update_geometry"),


use rule measure as contextual_geometry with:
    input:
        unpack(needs(run, split, heads)),
    output:
        **leaves("contextual_geometry"),
