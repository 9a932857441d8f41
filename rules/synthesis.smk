use rule measure as closure with:
    input:
        unpack(needs(run, probes, measured_window, dictionaries, heads)),
    output:
        **leaves("closure"),
    params:
        **asks("closure"),


rule cross_seed:
    input:
        manifests=lambda w: [
            PLAN.runs[w.study, run].manifest for run in PLAN.runs_of(w.study, w.analysis)
        ],
        sweeps=of_every_run("sweep", "report_json"),
        sweep_rows=of_every_run("sweep", "rows"),
        heads=of_every_run("scan", "heads"),
        attributions=of_every_run("attribution", "rows"),
    output:
        **analysis_files("cross_seed", "study"),
    log:
        "logs/cross_seed/{study}/{analysis}.log",
    benchmark:
        "logs/cross_seed/{study}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("cross_seed"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        *code("cross_seed"),
        settings=settings,
        runs=lambda w: list(PLAN.runs_of(w.study, w.analysis)),
        versions=TABLES,
    message:
        "Does it repeat over the runs of {wildcards.study}?"
    script:
        "../src/scripts/cross_seed.py"


rule report:
    input:
        reports=lambda w: [f for f in PLAN.targets(w.study) if Path(f).name == "report.json"],
        figures=lambda w: [f for f in PLAN.targets(w.study) if Path(f).suffix == ".svg"],
        audit=lambda w: f"data/{STUDIES[w.study].benchmark}/audit.json",
    output:
        page=report(
            "results/{study}/report.html",
            caption="../report/page.rst",
            category="Study {study}",
            subcategory="page",
            labels={"what": "the whole account"},
        ),
    log:
        "logs/report/{study}.log",
    benchmark:
        "logs/report/{study}.tsv"
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        *code("report"),
        title=lambda w: f"title={STUDIES[w.study].title}",
        focus=lambda w: f"focus={STUDIES[w.study].focus}",
    message:
        "Writing the page of study {wildcards.study}"
    script:
        "../src/scripts/report.py"
