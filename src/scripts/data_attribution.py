"""Which training data built the growth of scalars, and through which memory."""

from pathlib import Path

from circuit.artifacts import read_json, write_rows
from circuit.attribution.asked import asked_scalars
from circuit.attribution.data_labels import asked_labels
from circuit.attribution.first_order import (
    FIRST_ORDER_UNITS,
    first_order_along,
    pushed_programs,
)
from circuit.attribution.gathered import gathered
from circuit.attribution.removal import REMOVAL_UNITS, removal_oracle
from circuit.attribution.window import event_growth, window_sums
from circuit.job import job
from circuit.kinds.data_attribution.settings import Settings
from circuit.reports import accounts_data, figures_data
from circuit.reports.data_tables import DataFindings
from circuit.reports.publish import publish
from circuit.scalars.features import load_dictionaries
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    given, out = snakemake.input, snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    first, last = settings.window
    tables = gathered(given, facts.analysis, settings.top_groups)
    rows, values = tables.rows, tables.values
    record = RunRecord(given.manifest, Path(given.metadata).parent)
    selection = read_json(given.heads)
    dictionaries = load_dictionaries(settings.model_dump(), given.get("dictionaries", []))
    asked = asked_scalars(settings, record, selection, dictionaries)
    labels = asked_labels(settings, record)
    units = {name: s.unit for name, s in settings.scalars.items()}

    programs = pushed_programs(
        record.split(record.manifest.recipe.train_split),
        record.benchmark.vocabulary,
        settings.programs,
        settings.seed,
    )
    steps = [step for step in record.manifest.steps if first <= step <= last]
    pushes = first_order_along(
        record.decoder,
        record.theta,
        steps,
        programs,
        labels,
        asked.scalars,
        asked.events,
        record.value_ids,
    )
    removal = removal_oracle(
        record.trajectory,
        record.manifest.state(first),
        labels,
        settings.removal_shares,
        asked.scalars,
        asked.events,
        record.value_ids,
    )

    tables.write(out)
    write_rows(out.first_order, pushes, FIRST_ORDER_UNITS, "one measure of one data group")
    write_rows(out.removal, removal, REMOVAL_UNITS, "one share of one data group taken out")
    figures_data.data_growth(rows, values, units, out.data_growth, settings.path_rule)
    figures_data.data_memory(rows, units, out.data_memory, settings.path_rule)
    figures_data.first_order_pushes(pushes, out.first_order_pushes)
    figures_data.removal_oracle(removal, out.removal_oracle)
    publish(
        accounts_data.data_attribution(
            DataFindings(
                sums=window_sums(rows, values),
                rows=rows,
                growths={
                    n: event_growth(tables.events, n, (first, last)) for n in settings.scalars
                },
                first_order=pushes,
                removal=removal,
            ),
            units,
            {n: selection.get(s.head, s.head) for n, s in settings.scalars.items() if s.head},
            (first, last),
            settings.path_rule,
            settings.residual_bound,
            settings.data,
        ),
        facts,
        seeds={"run": record.manifest.seed, "programs and buckets": settings.seed},
    )
