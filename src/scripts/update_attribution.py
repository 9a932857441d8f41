"""Growth of scalars by update component and parameter group, gathered from the window's jobs."""

from circuit.artifacts import read_json
from circuit.attribution.gathered import gathered
from circuit.attribution.window import event_growth, window_sums
from circuit.job import job
from circuit.kinds.update_attribution.settings import Settings
from circuit.reports import accounts_attribution, figures_attribution
from circuit.reports.publish import publish

with job(snakemake, torch=False) as facts:
    out = snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    found = gathered(snakemake.input, facts.analysis, settings.top_groups)
    rows, values, top = found.rows, found.values, found.top_groups_table
    selection = read_json(snakemake.input.heads)
    heads = {name: selection.get(s.head, s.head) for name, s in settings.scalars.items() if s.head}
    units = {name: s.unit for name, s in settings.scalars.items()}
    growths = {n: event_growth(found.events, n, settings.window) for n in settings.scalars}

    found.write(out)
    last = settings.window[1]
    figures_attribution.growth(rows, values, units, out.growth, settings.path_rule, last)
    figures_attribution.parameter_groups(top, units, out.parameter_groups, settings.groups[0])
    figures_attribution.residual(rows, values, out.residual, settings.residual_bound)
    account = accounts_attribution.attribution(
        window_sums(rows, values),
        growths,
        units,
        heads,
        settings.window,
        settings.path_rule,
        settings.residual_bound,
        top,
    )
    publish(account, facts)
