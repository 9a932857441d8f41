"""The route's growth and its component shares over seeds."""

from circuit.artifacts import read_json, read_rows, write_rows
from circuit.config.terms import REBINDINGS
from circuit.job import job
from circuit.kinds.cross_seed.settings import Settings
from circuit.measures.replication.seeds import UNITS, SeedResult, compare_seeds
from circuit.measures.sweep.curves import birth_step
from circuit.reports import accounts_closure, figures_closure
from circuit.reports.publish import publish

with job(snakemake, torch=False) as facts:
    p, out = snakemake.params, snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    results = []
    for i, run in enumerate(p.runs):
        given = snakemake.input
        rows = read_rows(given.attributions[i])
        chosen = (rows["measure"] == "contribution") & (rows["against"] == "")
        chosen &= ~rows["component"].isin(["whole", *REBINDINGS])
        parts = rows[chosen & (rows["scalar"] == settings.scalar)]
        # The main path rule comes first.
        parts = parts[parts["path_rule"] == parts["path_rule"].iloc[0]]
        sweep = read_json(given.sweeps[i])["settings"]
        results.append(
            SeedResult(
                run=run,
                seed=read_json(given.manifests[i])["seed"],
                selection=read_json(given.heads[i]),
                components=dict(zip(parts["component"], parts["mean"], strict=True)),
                birth_step=birth_step(
                    read_rows(given.sweep_rows[i]), sweep["splits"][0], sweep["birth_threshold"]
                ),
            )
        )
    rows = compare_seeds(results, settings.seed)

    write_rows(out.rows, rows, UNITS, "one measure of one run, or its mean over runs")
    figures_closure.seeds(rows, out.seeds)
    publish(accounts_closure.seeds(rows), facts, seeds={"bootstrap": settings.seed})
