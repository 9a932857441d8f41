rule route_features:
    input:
        unpack(early_inputs),
        unpack(lambda w: tables(w, "probes", PLAN.runs[w.study, w.run].recipe.train_split)),
    output:
        **analysis_files("route_features"),
    log:
        "logs/route_features/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/route_features/{study}/{run}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("route_features"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        *code("route_features"),
        settings=settings,
        versions=NUMERICS,
    message:
        "What can be known early: {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/route_features.py"


rule foretold:
    input:
        features=of_every_run("features", "rows"),
        scans=of_every_run("scan", "rows"),
    output:
        **analysis_files("foretold", "study"),
    log:
        "logs/foretold/{study}/{analysis}.log",
    benchmark:
        "logs/foretold/{study}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("foretold"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        *code("foretold"),
        settings=settings,
        runs=lambda w: list(PLAN.runs_of(w.study, w.analysis)),
        versions=TABLES,
    message:
        "Whether it could be known before, over the runs of {wildcards.study}"
    script:
        "../src/scripts/foretold.py"
