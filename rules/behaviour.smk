rule checkpoint_sweep:
    message:
        "Behaviour at every checkpoint: {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    input:
        unpack(run_inputs),
        unpack(lambda w: tables(w, "probes", *PLAN.analysis(w.study, w.analysis).splits)),
    output:
        **analysis_files("checkpoint_sweep"),
    params:
        *code("checkpoint_sweep"),
        settings=settings,
        versions=NUMERICS,
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    log:
        "logs/checkpoint_sweep/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/checkpoint_sweep/{study}/{run}/{analysis}.tsv"
    wildcard_constraints:
        analysis=only(PLAN.names_of_kind("checkpoint_sweep")),
    conda:
        "../envs/circuit.yaml"
    script:
        "../src/scripts/checkpoint_sweep.py"


rule full_evaluation:
    message:
        "Whole splits at one checkpoint: {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    input:
        unpack(run_inputs),
        unpack(lambda w: tables(w, *PLAN.analysis(w.study, w.analysis).splits)),
        sweep=lambda w: result(w, PLAN.analysis(w.study, w.analysis).sweep, "rows"),
    output:
        **analysis_files("full_evaluation"),
    params:
        *code("full_evaluation"),
        settings=settings,
        versions=NUMERICS,
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    log:
        "logs/full_evaluation/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/full_evaluation/{study}/{run}/{analysis}.tsv"
    wildcard_constraints:
        analysis=only(PLAN.names_of_kind("full_evaluation")),
    conda:
        "../envs/circuit.yaml"
    script:
        "../src/scripts/full_evaluation.py"


rule reference_model:
    message:
        "Choosing the reference model of {wildcards.study}"
    input:
        sweeps=lambda w: [
            result(w, PLAN.analysis(w.study, w.analysis).sweep, "rows", run)
            for run in PLAN.runs_of(w.study, w.analysis)
        ],
    output:
        **analysis_files("reference_model", "study"),
    params:
        *code("reference_model"),
        settings=settings,
        runs=lambda w: list(PLAN.runs_of(w.study, w.analysis)),
        versions=TABLES,
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    log:
        "logs/reference_model/{study}/{analysis}.log",
    benchmark:
        "logs/reference_model/{study}/{analysis}.tsv"
    wildcard_constraints:
        analysis=only(PLAN.names_of_kind("reference_model")),
    conda:
        "../envs/circuit.yaml"
    script:
        "../src/scripts/reference_model.py"
