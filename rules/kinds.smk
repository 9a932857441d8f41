"""The two jobs of every kind of analysis: measuring, which the other files make rules of, and viewing.

A kind's own rule says what it needs and nothing else.
"""


rule measure:
    output:
        "results/{study,(?!)}/{run}/{analysis}/measured.json",
    log:
        "logs/{study}/{run}/{analysis}.measure.log",
    benchmark:
        "logs/{study}/{run}/{analysis}.measure.tsv"
    conda:
        "../envs/circuit.yaml"
    threads: lambda w: PLAN.threads(w.study, w.run, w.analysis)
    resources:
        mem_mb=lambda w: PLAN.analysis(w.study, w.analysis).job_memory_mb,
        runtime=lambda w: PLAN.analysis(w.study, w.analysis).job_minutes,
    message:
        "Measuring {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/measure.py"


rule compare:
    output:
        "results/{study,(?!)}/{analysis}/measured.json",
    log:
        "logs/{study}/{analysis}.measure.log",
    benchmark:
        "logs/{study}/{analysis}.measure.tsv"
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=lambda w: PLAN.analysis(w.study, w.analysis).job_memory_mb,
        runtime=lambda w: PLAN.analysis(w.study, w.analysis).job_minutes,
    message:
        "Measuring {wildcards.analysis} of {wildcards.study}"
    script:
        "../src/scripts/measure.py"


for _kind in VIEWS:

    rule:
        name:
            f"view_{_kind}"
        input:
            **{
                name: f"{folder_of(_kind)}/{file}"
                for name, file in KINDS[_kind].measured_files().items()
            },
        output:
            **shows(_kind),
        log:
            f"{folder_of(_kind).replace('results', 'logs', 1)}.view.log",
        benchmark:
            f"{folder_of(_kind).replace('results', 'logs', 1)}.view.tsv"
        conda:
            "../envs/circuit.yaml"
        threads: 1
        resources:
            mem_mb=800,
            runtime=10,
        params:
            **tells(_kind),
        message:
            "Viewing {wildcards.analysis}"
        script:
            "../src/scripts/view.py"
