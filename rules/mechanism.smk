use rule measure as head_scan with:
    input:
        unpack(needs(run, probes)),
    output:
        **leaves("head_scan"),
    priority: 5  # on the page's first screen


use rule measure as attention_geometry with:
    input:
        unpack(needs(run, probes, heads)),
    output:
        **leaves("attention_geometry"),


use rule measure as path_logits with:
    input:
        unpack(needs(run, probes)),
    output:
        **leaves("path_logits"),


use rule measure as circuit_map with:
    input:
        unpack(needs(other("paths", "rows"))),
    output:
        **leaves("circuit_map"),
    priority: 5  # on the page's first screen


use rule measure as component_effects with:
    input:
        unpack(needs(run, probes)),
    output:
        **leaves("component_effects"),


use rule measure as mediation with:
    input:
        unpack(needs(run, probes)),
    output:
        **leaves("mediation"),


use rule measure as hypothesis_test with:
    input:
        unpack(needs(run, probes, heads)),
    output:
        **leaves("hypothesis_test"),


use rule measure as candidates with:
    input:
        unpack(needs(run, probes, train, split, measured_window, dictionaries)),
    output:
        **leaves("candidates"),


use rule measure as prompt_trace with:
    input:
        unpack(needs(run, probes)),
    output:
        **leaves("prompt_trace"),


use rule measure as scalar_progress with:
    input:
        unpack(needs(run, probes, heads)),
    output:
        **leaves("scalar_progress"),


use rule measure as functional_write with:
    input:
        unpack(needs(run, probes, split, heads)),
    output:
        **leaves("functional_write"),


use rule measure as dictionary with:
    input:
        unpack(needs(run, split)),
    output:
        **leaves("dictionary"),


use rule measure as families with:
    input:
        unpack(needs(run, pairs, split, each("dictionaries", "sae_weights"))),
    output:
        **leaves("families"),


use rule measure as intervention with:
    input:
        unpack(needs(run, probes, pairs, split, heads)),
    output:
        **leaves("intervention"),


use rule measure as value_code with:
    input:
        unpack(needs(run, split)),
    output:
        **leaves("value_code"),


use rule measure as value_transfer with:
    input:
        unpack(needs(run, split)),
    output:
        **leaves("value_transfer"),


use rule measure as rescue with:
    input:
        unpack(needs(run, probes, heads)),
    output:
        **leaves("rescue"),


use rule measure as qk_features with:
    input:
        unpack(needs(run, probes, heads, dictionaries)),
    output:
        **leaves("qk_features"),


use rule measure as feature_births with:
    input:
        unpack(needs(run, split)),
    output:
        **leaves("feature_births"),


use rule measure as coalitions with:
    input:
        unpack(needs(run, probes, heads, dictionaries)),
    output:
        **leaves("coalitions"),
