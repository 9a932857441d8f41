rule checkpoint_sweep:
    input:
        unpack(run_inputs),
        unpack(lambda w: tables(w, "probes", *PLAN.analysis(w.study, w.analysis).splits)),
    output:
        **analysis_files("checkpoint_sweep"),
    log:
        "logs/checkpoint_sweep/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/checkpoint_sweep/{study}/{run}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("checkpoint_sweep"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    params:
        *code("checkpoint_sweep"),
        settings=settings,
        versions=NUMERICS,
    message:
        "Behaviour at every checkpoint: {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/checkpoint_sweep.py"


rule full_evaluation:
    input:
        unpack(run_inputs),
        unpack(lambda w: tables(w, *PLAN.analysis(w.study, w.analysis).splits)),
        sweep=lambda w: result(w, PLAN.analysis(w.study, w.analysis).sweep, "rows"),
    output:
        **analysis_files("full_evaluation"),
    log:
        "logs/full_evaluation/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/full_evaluation/{study}/{run}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("full_evaluation"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    params:
        *code("full_evaluation"),
        settings=settings,
        versions=NUMERICS,
    message:
        "Whole splits at one checkpoint: {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/full_evaluation.py"


rule reference_model:
    input:
        sweeps=lambda w: [
            result(w, PLAN.analysis(w.study, w.analysis).sweep, "rows", run)
            for run in PLAN.runs_of(w.study, w.analysis)
        ],
    output:
        **analysis_files("reference_model", "study"),
    log:
        "logs/reference_model/{study}/{analysis}.log",
    benchmark:
        "logs/reference_model/{study}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("reference_model"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        *code("reference_model"),
        settings=settings,
        runs=lambda w: list(PLAN.runs_of(w.study, w.analysis)),
        versions=TABLES,
    message:
        "Choosing the reference model of {wildcards.study}"
    script:
        "../src/scripts/reference_model.py"


rule birth_windows:
    input:
        unpack(lambda w: sweep_tables(w, "rows", "stages", "components")),
    output:
        **analysis_files("birth_windows"),
    log:
        "logs/birth_windows/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/birth_windows/{study}/{run}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("birth_windows"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=15,
    params:
        *code("birth_windows"),
        settings=settings,
        versions=TABLES,
    message:
        "When things were born: {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/birth_windows.py"


use rule measure as birth_window_compare with:
    input:
        unpack(needs(run, probes, measured_window)),
    output:
        **leaves("birth_window_compare"),
    params:
        **asks("birth_window_compare"),
