# Checkpoint steps are known from the configuration, so each run is a rule of its own that declares
# exactly its files.
for _run in PLAN.runs.values():
    _out = {
        "manifest": _run.manifest,
        "metrics": f"{_run.folder}/metrics.parquet",
    }
    if _run.view_of is None:

        rule:
            name:
                f"train_{_run.study}_{_run.name}"
            input:
                metadata=f"data/{_run.benchmark}/metadata.json",
                train=f"data/{_run.benchmark}/{_run.recipe.train_split}.parquet",
            output:
                **_out,
                checkpoints=[_run.checkpoint(s) for s in _run.recipe.checkpoint_steps],
            log:
                f"logs/train/{_run.study}/{_run.name}.log",
            benchmark:
                f"logs/train/{_run.study}/{_run.name}.tsv"
            # Everything else waits for a training: start all of them first.
            priority: 10
            conda:
                "../envs/circuit.yaml"
            threads: _run.recipe.threads
            resources:
                mem_mb=2500,
                runtime=_run.minutes,
            params:
                *code("train"),
                recipe=canonical(_run.recipe),
                seed=f"seed={_run.seed}",
                run=_run.name,
                benchmark=_run.benchmark,
                work="results/.work",
                versions=NUMERICS,
            message:
                f"Training run {_run.name} of study {_run.study}: {_run.recipe.steps} steps"
            script:
                "../src/scripts/train.py"

    else:

        rule:
            name:
                f"view_{_run.study}_{_run.name}"
            input:
                manifest=PLAN.runs[_run.study, _run.view_of].manifest,
                metrics=f"{PLAN.runs[_run.study, _run.view_of].folder}/metrics.parquet",
                checkpoints=list(PLAN.checkpoints(_run.study, _run.name).values()),
            output:
                **_out,
            log:
                f"logs/train/{_run.study}/{_run.name}.log",
            benchmark:
                f"logs/train/{_run.study}/{_run.name}.tsv"
            conda:
                "../envs/circuit.yaml"
            threads: 1
            resources:
                mem_mb=500,
                runtime=5,
            params:
                *code("view_run"),
                recipe=canonical(_run.recipe),
                run=_run.name,
            message:
                f"Run {_run.name} of study {_run.study} shares the states of {_run.view_of}"
            script:
                "../src/scripts/view_run.py"
