use rule measure as head_scan with:
    input:
        unpack(needs(run, probes)),
    output:
        **leaves("head_scan"),
    params:
        **asks("head_scan"),


use rule measure as attention_geometry with:
    input:
        unpack(needs(run, probes, heads)),
    output:
        **leaves("attention_geometry"),
    params:
        **asks("attention_geometry"),


use rule measure as path_logits with:
    input:
        unpack(needs(run, probes)),
    output:
        **leaves("path_logits"),
    params:
        **asks("path_logits"),


use rule measure as route_competition with:
    input:
        unpack(needs(run, probes, train, split, measured_window, dictionaries)),
    output:
        **leaves("route_competition"),
    params:
        **asks("route_competition"),


use rule measure as prompt_trace with:
    input:
        unpack(needs(run, probes)),
    output:
        **leaves("prompt_trace"),
    params:
        **asks("prompt_trace"),
