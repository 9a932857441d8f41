rule replay:
    input:
        unpack(run_inputs),
        unpack(lambda w: tables(w, "probes", PLAN.runs[w.study, w.run].recipe.train_split)),
        unpack(lambda w: dictionary_files(w, replay_requests(w))),
        heads=lambda w: [result(w, name, "heads") for name in selecting(w)],
    output:
        **{
            name: f"results/{{study}}/{{run}}/replay/{{start}}_{{stop}}/{name}.parquet"
            for name in ("verification", *REPLAY_TABLES)
        },
    log:
        "logs/replay/{study}/{run}/{start}_{stop}.log",
    benchmark:
        "logs/replay/{study}/{run}/{start}_{stop}.tsv"
    wildcard_constraints:
        study=within(job.folder for at in PLAN.runs for job in PLAN.replay_jobs(*at)),
    conda:
        "../envs/circuit.yaml"
    threads: lambda w: PLAN.runs[w.study, w.run].recipe.threads
    resources:
        mem_mb=2500,
        runtime=lambda w: PLAN.runs[w.study, w.run].minutes,
    params:
        *code("replay"),
        requests=lambda w: canonical(replay_requests(w)),
        heads=selecting,
        versions=NUMERICS,
    message:
        "Replaying steps {wildcards.start} to {wildcards.stop} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/replay.py"


rule chords:
    input:
        unpack(run_inputs),
        unpack(lambda w: tables(w, "probes")),
        unpack(dictionaries),
        heads=lambda w: result(w, PLAN.analysis(w.study, w.analysis).heads, "heads"),
    output:
        **{
            name: f"results/{{study}}/{{run}}/chords/{{analysis}}/{name}.parquet"
            for name in CHORD_TABLES
        },
    log:
        "logs/chords/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/chords/{study}/{run}/{analysis}.tsv"
    wildcard_constraints:
        study=within(
            PLAN.chords(study, run, name)
            for study, run in PLAN.runs
            for name in PLAN.of_kind(study, "update_attribution")
            if PLAN.chords(study, run, name) and run in PLAN.runs_of(study, name)
        ),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=2500,
        runtime=60,
    params:
        *code("chords"),
        request=lambda w: canonical(PLAN.request(w.study, w.analysis)),
        versions=NUMERICS,
    message:
        "Attributing between checkpoints: {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/chords.py"


rule optimizer_trace:
    input:
        verification=lambda w: stretches(w, "verification"),
        trace=lambda w: stretches(w, "trace"),
        batches=lambda w: stretches(w, "batches"),
        top_parameters=lambda w: stretches(w, "top_parameters"),
    output:
        **analysis_files("optimizer_trace"),
    log:
        "logs/optimizer_trace/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/optimizer_trace/{study}/{run}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("optimizer_trace"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        *code("optimizer_trace"),
        settings=settings,
        versions=TABLES,
    message:
        "Optimizer trace: {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/optimizer_trace.py"


rule update_attribution:
    input:
        verification=lambda w: stretches(w, "verification"),
        components=lambda w: stretches(w, "components"),
        values=lambda w: stretches(w, "values"),
        groups=lambda w: stretches(w, "groups"),
        summed_groups=lambda w: stretches(w, "summed_groups"),
        events=lambda w: stretches(w, "events"),
        heads=lambda w: result(w, PLAN.analysis(w.study, w.analysis).heads, "heads"),
    output:
        **analysis_files("update_attribution"),
    log:
        "logs/update_attribution/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/update_attribution/{study}/{run}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("update_attribution"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        *code("update_attribution"),
        settings=settings,
        versions=TABLES,
    message:
        "What built the route: {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/update_attribution.py"


rule data_attribution:
    input:
        unpack(run_inputs),
        unpack(lambda w: tables(w, "probes", PLAN.runs[w.study, w.run].recipe.train_split)),
        unpack(dictionaries),
        verification=lambda w: stretches(w, "verification"),
        components=lambda w: stretches(w, "components"),
        values=lambda w: stretches(w, "values"),
        groups=lambda w: stretches(w, "groups"),
        summed_groups=lambda w: stretches(w, "summed_groups"),
        events=lambda w: stretches(w, "events"),
        heads=lambda w: result(w, PLAN.analysis(w.study, w.analysis).heads, "heads"),
    output:
        **analysis_files("data_attribution"),
    log:
        "logs/data_attribution/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/data_attribution/{study}/{run}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("data_attribution"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        *code("data_attribution"),
        settings=settings,
        versions=NUMERICS,
    message:
        "Which data built the route: {wildcards.analysis} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/data_attribution.py"
