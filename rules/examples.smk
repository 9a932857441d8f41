rule example_gradients:
    input:
        unpack(run_inputs),
        unpack(lambda w: tables(w, "probes", *PLAN.analysis(w.study, w.analysis).splits)),
        heads=lambda w: result(w, PLAN.analysis(w.study, w.analysis).heads, "heads"),
    output:
        **analysis_files("example_gradients"),
    log:
        "logs/example_gradients/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/example_gradients/{study}/{run}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("example_gradients"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        *code("example_gradients"),
        settings=settings,
        versions=NUMERICS,
    message:
        "How examples push on each other: {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/example_gradients.py"
