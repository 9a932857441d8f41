rule benchmark:
    output:
        **{k: f"data/{{benchmark}}/{f}" for k, f in BENCHMARK_FILES.items()},
    log:
        "logs/benchmark/{benchmark}.log",
    benchmark:
        "logs/benchmark/{benchmark}.tsv"
    conda:
        "../envs/circuit.yaml"
    resources:
        mem_mb=1500,
        runtime=10,
    params:
        *code("benchmark"),
        settings=lambda w: canonical(PLAN.settings.benchmarks[w.benchmark]),
    message:
        "Generating benchmark {wildcards.benchmark} and auditing it"
    script:
        "../src/scripts/benchmark.py"


use rule compare as dataset_geometry with:
    input:
        unpack(needs(metadata, splits)),
    output:
        **leaves("dataset_geometry"),


use rule measure as example_gradients with:
    input:
        unpack(needs(run, probes, splits, heads)),
    output:
        **leaves("example_gradients"),
