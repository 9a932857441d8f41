rule benchmark:
    output:
        **{k: f"data/{{benchmark}}/{f}" for k, f in BENCHMARK_FILES.items()},
    log:
        "logs/benchmark/{benchmark}.log",
    benchmark:
        "logs/benchmark/{benchmark}.tsv"
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
    params:
        *code("benchmark"),
        settings=lambda w: canonical(PLAN.settings.benchmarks[w.benchmark]),
        versions=TABLES,
    message:
        "Generating benchmark {wildcards.benchmark} and auditing it"
    script:
        "../src/scripts/benchmark.py"


rule dataset_geometry:
    input:
        unpack(study_benchmark),
    output:
        **analysis_files("dataset_geometry", "study"),
    log:
        "logs/dataset_geometry/{study}/{analysis}.log",
    benchmark:
        "logs/dataset_geometry/{study}/{analysis}.tsv"
    wildcard_constraints:
        study=of_kind("dataset_geometry"),
    conda:
        "../envs/circuit.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=20,
    params:
        *code("dataset_geometry"),
        settings=settings,
        versions=TABLES,
    message:
        "What the data asks for: {wildcards.analysis} of {wildcards.study}"
    script:
        "../src/scripts/dataset_geometry.py"
