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
        unpack(
            needs(
                run, probes, lambda w: tables(w, *route_splits(w)), measured_window, dictionaries
            )
        ),
    output:
        **leaves("route_competition"),
    params:
        **asks("route_competition"),


rule prompt_trace:
    input:
        unpack(run_inputs),
        unpack(lambda w: tables(w, "probes")),
    output:
        **analysis_files("prompt_trace"),
    log:
        "logs/prompt_trace/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/prompt_trace/{study}/{run}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("prompt_trace"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
    params:
        *code("prompt_trace"),
        settings=settings,
        versions=NUMERICS,
    message:
        "One program step by step: {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/prompt_trace.py"
