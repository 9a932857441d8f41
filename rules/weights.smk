use rule measure as weight_svd with:
    input:
        unpack(needs(run, other("births", births="windows"))),
    output:
        **leaves("weight_svd"),
    params:
        **asks("weight_svd"),


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
