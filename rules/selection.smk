use rule measure as route_features with:
    input:
        unpack(needs(early, probes, train)),
    output:
        **leaves("route_features"),
    params:
        **asks("route_features"),


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
