rule replay:
    input:
        unpack(needs(run, probes, train, requested)),
    output:
        **made(
            [job.folder for at in PLAN.runs for job in PLAN.replay_jobs(*at)],
            "results/{study}/{run}/replay/{start}_{stop}",
            parquet("verification", *REPLAY_TABLES),
        ),
    log:
        "logs/replay/{study}/{run}/{start}_{stop}.log",
    benchmark:
        "logs/replay/{study}/{run}/{start}_{stop}.tsv"
    conda:
        "../envs/circuit.yaml"
    threads: lambda w: PLAN.runs[w.study, w.run].recipe.threads
    resources:
        mem_mb=2500,
        runtime=lambda w: PLAN.runs[w.study, w.run].minutes,
    params:
        *code("replay"),
        requests=lambda w: canonical(requests(PLAN, w)),
        heads=lambda w: PLAN.scans(requests(PLAN, w)),
    message:
        "Replaying steps {wildcards.start} to {wildcards.stop} of {wildcards.run}"
    script:
        "../src/scripts/replay.py"


rule chords:
    input:
        unpack(needs(run, probes, dictionaries, heads)),
    output:
        **made(
            filter(None, (PLAN.chords(*at) for at in PLAN.analyses)),
            "results/{study}/{run}/chords/{analysis}",
            parquet(*CHORD_TABLES),
        ),
    log:
        "logs/chords/{study}/{run}/{analysis}.log",
    benchmark:
        "logs/chords/{study}/{run}/{analysis}.tsv"
    conda:
        "../envs/circuit.yaml"
    resources:
        mem_mb=2500,
        runtime=60,
    params:
        *code("chords"),
        request=lambda w: canonical(PLAN.request(w.study, w.analysis)),
    message:
        "Attributing between checkpoints: {wildcards.analysis} of {wildcards.run}"
    script:
        "../src/scripts/chords.py"


use rule measure as optimizer_trace with:
    input:
        unpack(needs(looked_at("verification", "trace", "batches", "top_parameters"))),
    output:
        **leaves("optimizer_trace"),


use rule measure as update_attribution with:
    input:
        unpack(needs(heads, attributed)),
    output:
        **leaves("update_attribution"),


use rule measure as data_attribution with:
    input:
        unpack(needs(run, probes, train, dictionaries, heads, attributed)),
    output:
        **leaves("data_attribution"),


use rule measure as feature_causes with:
    input:
        unpack(needs(summed_up)),
    output:
        **leaves("feature_causes"),
