rule weight_svd:
    input:
        unpack(run_inputs),
        births=lambda w: result(w, PLAN.analysis(w.study, w.analysis).births, "windows"),
    output:
        **analysis_files("weight_svd"),
    log:
        "logs/weight_svd/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/weight_svd/{study}/{run}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("weight_svd"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        *code("weight_svd"),
        settings=settings,
        versions=NUMERICS,
    message:
        "Singular values of every matrix: {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/weight_svd.py"


rule contextual_geometry:
    input:
        unpack(run_inputs),
        unpack(lambda w: tables(w, PLAN.analysis(w.study, w.analysis).split)),
        heads=lambda w: result(w, PLAN.analysis(w.study, w.analysis).heads, "heads"),
    output:
        **analysis_files("contextual_geometry"),
    log:
        "logs/contextual_geometry/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/contextual_geometry/{study}/{run}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("contextual_geometry"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        *code("contextual_geometry"),
        settings=settings,
        versions=NUMERICS,
    message:
        "How states fall into groups: {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/contextual_geometry.py"
