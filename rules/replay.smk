rule replay:
    input:
        unpack(needs(run, probes, train)),
        unpack(lambda w: dictionary_files(w, requested(w))),
        heads=lambda w: [PLAN.files(w.study, w.run, name)["heads"] for name in selecting(w)],
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
        requests=lambda w: canonical(requested(w)),
        heads=selecting,
        versions=NUMERICS,
    message:
        "Replaying steps {wildcards.start} to {wildcards.stop} of {wildcards.study}/{wildcards.run}"
    script:
        "../src/scripts/replay.py"


rule chords:
    input:
        unpack(needs(run, probes, dictionaries, heads)),
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
            for name in STUDIES[study].analyses
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


use rule measure as optimizer_trace with:
    input:
        unpack(looked_at("verification", "trace", "batches", "top_parameters")),
    output:
        **leaves("optimizer_trace"),
    params:
        **asks("optimizer_trace"),


use rule measure as update_attribution with:
    input:
        unpack(needs(heads, attributed)),
    output:
        **leaves("update_attribution"),
    params:
        **asks("update_attribution"),


use rule measure as data_attribution with:
    input:
        unpack(needs(run, probes, train, dictionaries, heads, attributed)),
    output:
        **leaves("data_attribution"),
    params:
        **asks("data_attribution"),
