# Checkpoint steps are known from the configuration, so each run is a rule of its own that declares
# exactly its files. A view of another run is given that one's states in place of data. What a training
# has published stays where it is (`update`): a longer one goes on from it.
for _run in PLAN.runs.values():
    _host = PLAN.runs.get((_run.study, _run.view_of))
    _states = {"checkpoints": list(PLAN.checkpoints(_run.study, _run.name).values())}

    rule:
        name:
            f"{'view' if _host else 'train'}_{_run.study}_{_run.name}"
        input:
            **({**_host.files, **_states} if _host else _run.data),
        output:
            **_run.files if _host else {n: update(f) for n, f in {**_run.files, **_states}.items()},
        log:
            f"logs/train/{_run.study}/{_run.name}.log",
        benchmark:
            f"logs/train/{_run.study}/{_run.name}.tsv"
        # Everything else waits for a training: start all of them first, the told one before others.
        priority: 0 if _host else 10 + (_run.name == STUDIES[_run.study].focus)
        conda:
            "../envs/circuit.yaml"
        threads: 1 if _host else _run.recipe.threads
        resources:
            mem_mb=500 if _host else 2500,
            runtime=5 if _host else _run.minutes,
        params:
            *code("train"),
            recipe=canonical(_run.recipe),
            seed=f"seed={_run.seed}",
            run=_run.name,
            benchmark=_run.benchmark,
            work="results/.work",
        message:
            f"Taking {_run.name}'s states from {_host.name}" if _host else f"Training {_run.name}"
        script:
            "../src/scripts/train.py"
