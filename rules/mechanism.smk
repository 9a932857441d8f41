use rule measure as head_scan with:
    input:
        unpack(needs(run, probes)),
    output:
        **leaves("head_scan"),
    params:
        **asks("head_scan"),


rule attention_geometry:
    input:
        unpack(run_inputs),
        unpack(lambda w: tables(w, "probes")),
        heads=lambda w: result(w, PLAN.analysis(w.study, w.analysis).heads, "heads"),
    output:
        **analysis_files("attention_geometry"),
    log:
        "logs/attention_geometry/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/attention_geometry/{study}/{run}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("attention_geometry"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    params:
        *code("attention_geometry"),
        settings=settings,
        versions=NUMERICS,
    message:
        "Where a head looks, over training: {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/attention_geometry.py"


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
