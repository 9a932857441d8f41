"""Growth of scalars by update component and parameter group, gathered from replayed stretches."""

from circuit.artifacts import read_json, write_rows
from circuit.attribution.tables import UNITS, gather
from circuit.attribution.window import event_growth, sum_groups, window_sums
from circuit.config.kinds.attribution import UpdateAttribution
from circuit.job import job
from circuit.reports import accounts_attribution, figures_attribution
from circuit.reports.publish import publish

with job(snakemake, torch=False) as facts:
    out = snakemake.output
    settings = UpdateAttribution.model_validate_json(facts.settings)
    first, last = settings.window
    rows = gather(snakemake.input.components, facts.analysis)
    values = gather(snakemake.input.values, facts.analysis)
    groups = gather(snakemake.input.groups, facts.analysis)
    summed = sum_groups(gather(snakemake.input.summed_groups, facts.analysis))
    events = gather(snakemake.input.events, facts.analysis)
    selection = read_json(snakemake.input.selection)
    heads = {name: selection.get(s.head, s.head) for name, s in settings.scalars.items() if s.head}
    units = {name: s.unit for name, s in settings.scalars.items()}
    sums = window_sums(rows, values)
    # A basis refitted at every step has no growth per event that spans the window.
    growths = {
        name: None if s.basis == "source" else event_growth(events, name, (first, last))
        for name, s in settings.scalars.items()
    }

    write_rows(
        out.rows, rows, UNITS["components"], "one component of one scalar's growth in one step"
    )
    write_rows(out.values, values, UNITS["values"], "one scalar before and after one step")
    write_rows(out.groups, groups, UNITS["groups"], "one component and parameter group in one step")
    write_rows(
        out.summed_groups, summed, UNITS["summed_groups"], "one component and group over the window"
    )
    write_rows(out.events, events, UNITS["events"], "one scalar on one event at one checkpoint")
    figures_attribution.growth(rows, values, units, out.growth, settings.path_rule)
    figures_attribution.parameter_groups(summed, units, out.parameter_groups, settings.groups[0])
    figures_attribution.residual(rows, values, units, out.residual, settings.residual_bound)
    account = accounts_attribution.attribution(
        sums,
        growths,
        units,
        heads,
        (first, last),
        settings.path_rule,
        settings.residual_bound,
        summed,
    )
    publish(account, facts)
