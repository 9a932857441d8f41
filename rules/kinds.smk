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
        mem_mb=lambda w: asked(w).job_memory_mb,
        runtime=lambda w: asked(w).job_minutes,
    params:
        *[module(number) for number in range(max(map(len, MEASURED_BY.values())))],
        kind=lambda w: f"kind={asked(w).kind}",
        settings=lambda w: PLAN.resolved(w.study, w.analysis, told=False),
        runs=lambda w: PLAN.compared(w.study, w.analysis),
    message:
        "Measuring {wildcards.analysis} of {wildcards.run}"
    script:
        "../src/scripts/measure.py"


use rule measure as compare with:
    output:
        "results/{study,(?!)}/{analysis}/measured.json",
    log:
        "logs/{study}/{analysis}.measure.log",
    benchmark:
        "logs/{study}/{analysis}.measure.tsv"
    threads: 1
    message:
        "Measuring {wildcards.analysis} of {wildcards.study}"


for _kind in VIEWS:

    rule:
        name:
            f"view_{_kind}"
        input:
            **{k: f"results/{home(_kind)}/{f}" for k, f in KINDS[_kind].measured_files().items()},
        output:
            **shows(_kind),
        log:
            f"logs/{home(_kind)}.view.log",
        benchmark:
            f"logs/{home(_kind)}.view.tsv"
        # What is measured is shown at once, so that the unfinished page fills up.
        priority: 20
        conda:
            "../envs/circuit.yaml"
        resources:
            mem_mb=800,
            runtime=10,
        params:
            *code("view", f"circuit.kinds.{_kind}.view"),
            kind=f"kind={_kind}",
            settings=lambda w: PLAN.resolved(w.study, w.analysis),
        message:
            "Viewing {wildcards.analysis}"
            + (" of {wildcards.run}" if KINDS[_kind].scope == "run" else "")
        script:
            "../src/scripts/view.py"
