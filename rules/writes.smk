rule scalar_progress:
    input:
        unpack(run_inputs),
        unpack(lambda w: tables(w, "probes")),
        heads=lambda w: result(w, PLAN.analysis(w.study, w.analysis).heads, "heads"),
    output:
        **analysis_files("scalar_progress"),
    log:
        "logs/scalar_progress/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/scalar_progress/{study}/{run}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("scalar_progress"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        *code("scalar_progress"),
        settings=settings,
        versions=NUMERICS,
    message:
        "Which scalar of a write is fit to be attributed: {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/scalar_progress.py"


use rule measure as functional_write with:
    input:
        unpack(needs(run, probes, split, heads)),
    output:
        **leaves("functional_write"),
    params:
        **asks("functional_write"),


use rule measure as shared_features with:
    input:
        unpack(needs(run, split)),
    output:
        **leaves("shared_features"),
    params:
        **asks("shared_features"),
