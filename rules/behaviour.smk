use rule measure as checkpoint_sweep with:
    input:
        unpack(needs(run, probes, splits)),
    output:
        **leaves("checkpoint_sweep"),
    priority: 5  # on the page's first screen


use rule measure as full_evaluation with:
    input:
        unpack(needs(run, splits, other("sweep", "rows"))),
    output:
        **leaves("full_evaluation"),


use rule compare as reference_model with:
    input:
        unpack(needs(others("sweep"))),
    output:
        **leaves("reference_model"),


use rule measure as birth_windows with:
    input:
        unpack(needs(other("sweep", "rows", "stages", "components"))),
    output:
        **leaves("birth_windows"),
    priority: 5  # on the page's first screen


use rule measure as birth_window_compare with:
    input:
        unpack(needs(run, probes, measured_window)),
    output:
        **leaves("birth_window_compare"),
