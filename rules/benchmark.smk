rule benchmark:
    message:
        "Generating benchmark {wildcards.benchmark} and auditing it"
    output:
        **{k: f"data/{{benchmark}}/{f}" for k, f in BENCHMARK_FILES.items()},
    params:
        *code("benchmark"),
        settings=lambda w: canonical(PLAN.settings.benchmarks[w.benchmark]),
        versions=TABLES,
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
    log:
        "logs/benchmark/{benchmark}.log",
    benchmark:
        "logs/benchmark/{benchmark}.tsv"
    conda:
        "../envs/circuit.yaml"
    script:
        "../src/scripts/benchmark.py"
