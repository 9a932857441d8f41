rule head_scan:
    input:
        unpack(run_inputs),
        unpack(lambda w: tables(w, "probes")),
    output:
        **analysis_files("head_scan"),
    log:
        "logs/head_scan/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/head_scan/{study}/{run}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("head_scan"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    params:
        *code("head_scan"),
        settings=settings,
        versions=NUMERICS,
    message:
        "Every head at every checkpoint: {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/head_scan.py"


rule attention_geometry:
    input:
        unpack(run_inputs),
        unpack(lambda w: tables(w, "probes")),
        selection=lambda w: result(w, PLAN.analysis(w.study, w.analysis).selection, "selection"),
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
