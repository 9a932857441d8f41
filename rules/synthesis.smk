use rule measure as route_features with:
    input:
        unpack(needs(early, probes, train)),
    output:
        **leaves("route_features"),


use rule compare as foretold with:
    input:
        unpack(needs(others("features", "scan"))),
    output:
        **leaves("foretold"),


use rule measure as closure with:
    input:
        unpack(needs(run, probes, measured_window, dictionaries, heads)),
    output:
        **leaves("closure"),


use rule compare as cross_seed with:
    input:
        unpack(needs(manifests, others("sweep", "scan", "attribution"))),
    output:
        **leaves("cross_seed"),


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
    resources:
        mem_mb=500,
        runtime=5,
    params:
        *code("report"),
        title=lambda w: f"title={STUDIES[w.study].title}",
        focus=lambda w: f"focus={STUDIES[w.study].focus}",
        order=lambda w: [*STUDIES[w.study].runs, *STUDIES[w.study].analyses],
    message:
        "Writing the page of study {wildcards.study}"
    script:
        "../src/scripts/report.py"
