"""Figures from rows: what stands on their axes and in their notes, and what marks mean."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure

from circuit.errors import AnalysisError
from circuit.estimates import estimates
from circuit.reports import style
from circuit.reports.draw.shapes import draw
from circuit.reports.saying import Context
from circuit.reports.views import Cells, Curves, Dots, Not, Scatter, Stack, View

HEADS = ("L0H0", "L0H1", "L1H0", "L1H1")


class Picture:
    """A figure that was drawn: the file's text and the panels behind it."""

    def __init__(self, figure: Figure, path: Path) -> None:
        self.figure, self.svg = figure, path.read_text()
        self.axes: list[Axes] = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]

    @property
    def texts(self) -> list[str]:
        return re.findall(r"<text [^>]*>([^<]*)</text>", self.svg)

    @property
    def note(self) -> str:
        head = self.figure.subfigs[0]
        return " ".join(text.get_text() for text in head.texts[1:])

    def labels(self) -> list[str]:
        legends = [ax.get_legend() for ax in self.axes] + self.figure.subfigs[1].legends
        return [text.get_text() for legend in legends if legend for text in legend.get_texts()]

    def lines(self, i: int = 0) -> list[Any]:
        """Lines of a panel that hold data, not those that mark zero."""
        return [line for line in self.axes[i].lines if len(line.get_xdata()) > 2]


@pytest.fixture
def pictured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Picture]:
    kept: list[Figure] = []
    save = style.save_svg

    def keep(figure: Figure, path: Any, title: str = "") -> None:
        kept.append(figure)
        save(figure, path, title=title)

    monkeypatch.setattr(style, "save_svg", keep)

    def run(view: View, rows: pd.DataFrame, **settings: Any) -> Picture:
        path = tmp_path / view.file
        draw(view, Context({"rows": rows}, settings, {"heads": 4}), path)
        return Picture(kept[-1], path)

    return run


def table(steps=(0, 100, 200), heads=HEADS, measures=("qk_separation",), **fixed) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    found = [
        {"step": step, "head": head, "measure": measure, "mean": mean, "low": mean - 0.1,
         "high": mean + 0.1, "count": 48}
        for step, head, measure in itertools.product(steps, heads, measures)
        for mean in [float(rng.uniform(0.2, 0.8))]
    ]  # fmt: skip
    return estimates(pd.DataFrame(found), **{"unit": "score", "noun": "events", **fixed})


def control(rows: pd.DataFrame, name: str, **changed: Any) -> pd.DataFrame:
    return pd.concat([rows, rows.assign(against=name, **changed)], ignore_index=True)


CURVES = Curves("figure", "Heads to {last}", series="head")


def test_axes_have_names_units_and_steps(pictured):
    picture = pictured(CURVES, table(steps=(0, 1000, 2000)))
    (ax,) = picture.axes
    assert ax.get_ylabel() == "QK separation (score)"
    assert ax.get_xlabel() == "training step"
    assert "Heads to 2,000" in picture.texts
    assert "1,200" in picture.texts
    assert len(picture.lines()) == len(HEADS)
    assert picture.labels() == list(HEADS)


def test_the_note_says_intervals_count_and_checkpoints(pictured):
    rows = table()
    rows.loc[0, "count"] = 40
    note = pictured(CURVES, rows).note
    assert "means; bands: 95% intervals; n = 40–48 events" in note
    assert "3 checkpoints" in note
    bare = pictured(CURVES, rows.assign(low=np.nan, high=np.nan, count=0)).note
    assert bare == "3 checkpoints."


def test_shares_are_percent_and_probabilities_are_where_they_can_be(pictured):
    share = pictured(CURVES, table(unit="share"))
    assert share.axes[0].get_ylabel() == "QK separation (%)"
    assert "50%" in share.texts or "40%" in share.texts
    assert share.axes[0].get_ylim() == pytest.approx((-0.03, 1.03))
    assert pictured(CURVES, table(unit="probability")).axes[0].get_ylabel() == "QK separation (%)"
    beyond = table(unit="probability").assign(mean=1.2)
    assert pictured(CURVES, beyond).axes[0].get_ylabel() == "QK separation (probability)"


def test_signed_units_have_a_line_at_zero(pictured):
    def zeros(unit: str) -> int:
        (ax,) = pictured(CURVES, table(unit=unit)).axes
        return sum(list(line.get_ydata()) == [0, 0] for line in ax.lines)

    assert (zeros("logit"), zeros("share")) == (1, 0)


def test_chosen_heads_have_the_colour_of_their_role_and_others_are_grey(pictured):
    rows = table()
    rows["chosen"] = rows["head"].map({"L1H0": "winner", "L0H1": "bottom"}).fillna("")
    picture = pictured(CURVES, rows)
    assert picture.labels() == ["L1H0 winner", "L0H1 bottom", "others"]
    assert "Grey: 2 other heads." in picture.note
    colours = [to_hex(line.get_color()) for line in picture.lines()]
    assert sorted(colours) == sorted([style.ROLE_COLOURS["winner"], style.ROLE_COLOURS["bottom"],
                                      style.FAINT, style.FAINT])  # fmt: skip
    order = {to_hex(line.get_color()): line.get_zorder() for line in picture.lines()}
    assert order[style.FAINT] < order[style.ROLE_COLOURS["winner"]]


def test_beyond_ten_series_only_the_largest_are_coloured(pictured):
    heads = tuple(f"L{i}H0" for i in range(14))
    rows = table(heads=heads)
    rows.loc[rows["head"] == "L9H0", "mean"] = -5.0
    picture = pictured(CURVES, rows)
    assert len(picture.lines()) == 14
    assert len(picture.labels()) == 7
    assert "L9H0" in picture.labels()
    assert "Grey: 8 other heads, never as large as the coloured ones." in picture.note


def test_no_two_series_share_colour_and_dashes(pictured):
    rows = table(heads=tuple(f"L{i}H0" for i in range(10)))
    looks = [(to_hex(line.get_color()), str(line.get_linestyle())) for line in
             pictured(CURVES, rows).lines()]  # fmt: skip
    assert len(set(looks)) == 10
    assert len({dashes for _, dashes in looks}) > 1


def test_known_names_have_their_colours_and_numbers_get_darker(pictured):
    rows = table(heads=("test_iid", "train")).rename(columns={"head": "split"})
    view = Curves("figure", "", series="split")
    colours = [to_hex(line.get_color()) for line in pictured(view, rows).lines()]
    assert colours == [style.SPLIT_COLOURS["test_iid"], style.SPLIT_COLOURS["train"]]
    rows = table(heads=("16", "2", "4")).rename(columns={"head": "rank"})
    view = Curves("figure", "", series="rank")
    picture = pictured(view, rows)
    assert picture.labels() == ["2", "4", "16"]
    light = [sum(to_rgba(line.get_color())[:3]) for line in picture.lines()]
    assert light == sorted(light, reverse=True)


def test_panels_are_titled_and_only_like_ranges_share_an_axis(pictured):
    rows = table(measures=("qk_separation", "beats"))
    rows.loc[rows["measure"] == "beats", "unit"] = "share"
    view = Curves("figure", "", series="head", panels=("measure",))
    upper, lower = pictured(view, rows).axes
    assert [ax.get_title(loc="left") for ax in (upper, lower)] == ["QK separation", "beats"]
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("score", "share (%)")
    alike = pictured(view, table(measures=("a", "b"))).axes
    assert alike[0].get_ylim() == alike[1].get_ylim()
    far = table(measures=("a", "b"))
    far.loc[far["measure"] == "b", ["mean", "low", "high"]] *= 100
    small, large = pictured(view, far).axes
    assert small.get_ylim()[1] < 2 < large.get_ylim()[1]


def test_a_control_is_a_band_over_all_series_and_a_line_where_it_has_no_width(pictured):
    rows = table(heads=HEADS[:2])
    bare = {"low": np.nan, "high": np.nan}
    view = Curves("f", "", series="head", control=("shuffled",))
    band = {"mean": np.nan, "low": 0.1, "high": 0.3}
    for changed in (band, {"mean": [0.1, 0.3] * 3, **bare}):
        picture = pictured(view, control(rows, "shuffled", **changed))
        assert "Shaded: shuffled, over all heads" in picture.note
        assert picture.labels() == ["L0H0", "L0H1", "shuffled"]
        spans = [band.get_paths()[0].get_extents() for band in picture.axes[0].collections]
        assert any(np.allclose([span.y0, span.y1], [0.1, 0.3]) for span in spans)
    flat = pictured(view, control(rows, "shuffled", mean=0.2, **bare))
    (line,) = [line for line in flat.lines() if line.get_linestyle() == ":"]
    assert set(line.get_ydata()) == {0.2}
    assert "Dotted: shuffled" in flat.note


def test_a_control_known_at_one_step_holds_for_all(pictured):
    rows = table(heads=HEADS[:1])
    chance = rows.iloc[:1].assign(against="chance", mean=0.25, low=np.nan, high=np.nan)
    view = Curves("f", "", series="head", control=("chance",))
    (line,) = [
        line
        for line in pictured(view, pd.concat([rows, chance])).lines()
        if set(line.get_ydata()) == {0.25}
    ]
    assert list(line.get_xdata()) == [0, 100, 200]


def test_events_are_marked_by_name_and_those_not_reached_are_told(pictured):
    rows = table(heads=HEADS[:1])
    birth = rows.iloc[:1].assign(measure="birth", unit="step", mean=120.0, low=100.0, high=150.0)
    never = {"mean": np.nan, "low": np.nan, "high": np.nan}
    shaded = birth.assign(measure="window", mean=np.nan)
    rows = pd.concat([rows, birth, birth.assign(measure="decline", **never), shaded])
    view = Curves("f", "", series="head", marks={"unit": "step"},
                  where={"measure": "qk_separation"})  # fmt: skip
    picture = pictured(view, rows)
    assert "birth: step 120" in picture.texts
    assert "window: steps 100 to 150" in picture.texts
    assert "Not reached: decline." in picture.note
    assert any(list(line.get_xdata()) == [120, 120] for line in picture.axes[0].lines)


def test_a_logarithmic_axis(pictured):
    view = Curves("f", "", series="head", log=True)
    assert pictured(view, table(unit="parameter unit")).axes[0].get_yscale() == "log"


def test_stages_stand_along_the_axis_in_their_order(pictured):
    stages = ("embedding", "layer_0_post_attn", "layer_0_post_mlp")
    rows = table(heads=stages).rename(columns={"head": "stage"})
    view = Curves("f", "", x="stage", series="step")
    (ax,) = pictured(view, rows).axes
    ticks = [tick.get_text() for tick in ax.get_xticklabels()]
    assert ticks == ["embedding", "L0 attn", "L0 MLP"]


DOTS = Dots("dots", "", y=("head",))


def test_dots_stand_on_a_line_of_their_name_with_interval_number_and_control(pictured):
    rows = table(steps=(300,))
    view = Dots("dots", "", y=("head",), control=("shuffled",))
    picture = pictured(view, control(rows, "shuffled", mean=0.1))
    (ax,) = picture.axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(HEADS)
    assert ax.get_xlabel() == "QK separation (score)"
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert [float(line.get_xdata()[0]) for line in hollow] == [0.1] * 4
    spans = [list(line.get_xdata()) for line in ax.lines]
    assert all([low, high] in spans for low, high in zip(rows["low"], rows["high"], strict=True))
    assert "Dots: means; lines: 95% intervals; n = 48 events. At step 300. Hollow" in picture.note
    assert sum(bool(re.fullmatch(r"\+0\.\d+", text)) for text in picture.texts) == 4


def test_only_the_largest_dots_are_drawn_and_the_rest_is_told(pictured):
    rows = table(steps=(300,)).assign(mean=[0.1, -3.0, 1.0, 2.0], low=np.nan, high=np.nan)
    view = Dots("dots", "", y=("head",), order="size", top=3)
    picture = pictured(view, rows)
    ticks = [tick.get_text() for tick in picture.axes[0].get_yticklabels()]
    assert ticks == ["L0H1", "L1H1", "L1H0"]
    assert "The largest 3; 1 smaller ones left out." in picture.note


def test_dots_in_time_have_a_time_line_and_say_what_was_not_reached(pictured):
    rows = table(steps=(300,), unit="step").assign(mean=[100.0, 200.0, np.nan, 250.0])
    picture = pictured(DOTS, rows)
    assert picture.axes[0].get_xlabel() == "training step"
    assert "not reached" in picture.texts


def test_dots_of_one_line_are_told_apart_by_mark_and_colour(pictured):
    rows = table(steps=(300,), measures=("direct", "effect"))
    view = Dots("dots", "", y=("head",), series="measure")
    picture = pictured(view, rows)
    dots = [line for line in picture.axes[0].lines if line.get_marker() not in ("None", None)]
    assert len({(to_hex(dot.get_color()), dot.get_marker()) for dot in dots}) == 2
    assert picture.labels() == ["direct", "effect"]


def test_cells_hold_numbers_the_control_in_brackets_and_a_bar_with_the_unit(pictured):
    rows = table(unit="share")
    view = Cells("c", "", x="step", y="head", control=("shuffled",))
    picture = pictured(view, control(rows, "shuffled", mean=0.071))
    assert picture.texts.count("(7%)") == len(rows)
    assert f"{rows['mean'].iloc[0]:.0%}" in picture.texts
    assert "In brackets: shuffled." in picture.note
    bars = [ax for ax in picture.figure.axes if ax.get_label() == "<colorbar>"]
    assert [bar.get_ylabel() for bar in bars] == ["QK separation (%)"]


def test_cells_diverge_from_zero_for_signed_numbers_alone(pictured):
    view = Cells("c", "", x="step", y="head")
    signed, share = pictured(view, table(unit="logit")), pictured(view, table(unit="share"))
    ends = [picture.axes[0].images[0].norm for picture in (signed, share)]
    assert ends[0].vmin == -ends[0].vmax
    assert (ends[1].vmin, ends[1].vmax) == (0, 1)


def test_cells_without_a_row_are_grey(pictured):
    view = Cells("c", "", x="step", y="head")
    picture = pictured(view, table().iloc[1:])
    assert np.isnan(np.asarray(picture.axes[0].images[0].get_array().filled(np.nan))).sum() == 1
    assert "Grey: there is no such number." in picture.note


def parts(steps=(0, 10, 20, 30)) -> pd.DataFrame:
    names = {"current_gradient": 2.0, "momentum": -0.5, "residual": 0.25, "growth": 1.75}
    found = [
        {"step": step, "component": name, "group": group, "mean": value}
        for step in steps
        for name, value in names.items()
        for group in ("L0H0", "L1H0")
    ]
    return estimates(pd.DataFrame(found), measure="contribution", unit="logit")


AREAS = Stack("s", "", where={"group": "L0H0"}, parts="component",
              x="step", total={"component": "growth"})  # fmt: skip


def test_areas_cumulate_and_stand_at_the_ends_of_their_intervals(pictured):
    picture = pictured(AREAS, parts())
    (ax,) = picture.axes
    whole, rest = (
        next(line for line in ax.lines if to_hex(line.get_color()) == colour)
        for colour in (style.INK, style.COMPONENT_COLOURS["residual"])
    )
    assert list(whole.get_xdata()) == [0, 10, 20, 30, 40]
    assert list(whole.get_ydata()) == [0, 1.75, 3.5, 5.25, 7.0]
    assert list(rest.get_ydata()) == [0, 0.25, 0.5, 0.75, 1.0]
    assert rest.get_linestyle() == "--"
    tops = sorted(area.get_paths()[0].get_extents().y1 for area in ax.collections)
    assert tops[-1] == pytest.approx(8.0)  # the stacked part, without the whole
    assert ax.get_ylabel() == "cumulative contribution (logit)"
    assert ax.get_title(loc="left") == "+7.00 logit"
    assert picture.labels() == ["growth", "current gradient", "momentum", "residual"]
    known = parts().assign(stop=lambda rows: rows["step"] + 5)
    (ax,) = pictured(AREAS, known).axes
    assert max(line.get_xdata()[-1] for line in ax.lines if len(line.get_xdata()) > 2) == 35


@pytest.mark.parametrize("along", [{"x": "step"}, {"y": ("group",)}], ids=["areas", "bars"])
def test_parts_that_are_not_all_of_their_whole_are_not_drawn(pictured, along):
    rows = parts().query("component != 'momentum'")
    stack = Stack("s", "", where={"group": "L0H0"}, parts="component",
                  total={"component": "growth"}, **along)  # fmt: skip
    with pytest.raises(AnalysisError, match=r"parts sum to .* where: figure s"):
        pictured(stack, rows)


def test_bars_sum_over_intervals_and_what_is_beyond_top_is_one_bar(pictured):
    rows = parts()
    small = rows[rows["group"] == "L0H0"].assign(group="L1H1", mean=lambda rows: rows["mean"] / 10)
    rows = pd.concat([rows, small])
    view = Stack("s", "", where={"component": Not("growth")},
                 parts="component", y=("group",), top=1)  # fmt: skip
    picture = pictured(view, rows)
    (ax,) = picture.axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["L0H0", "2 others"]
    (dots,) = [line for line in ax.lines if line.get_marker() == "o"]
    assert list(dots.get_xdata()) == pytest.approx([7.0, 7.7])
    assert ax.get_title(loc="left") == "+14.7 logit"
    assert "The largest 1 bars, and the sum of all others." in picture.note


SCATTER = Scatter("x", "", x={"measure": "direct"}, y={"measure": "effect"},
                  each=("head",))  # fmt: skip


def test_a_scatter_has_both_estimates_names_and_the_line_of_equals(pictured):
    rows = table(steps=(300,), measures=("direct", "effect"))
    picture = pictured(SCATTER, rows)
    (ax,) = picture.axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("direct (score)", "effect (score)")
    drawn = np.asarray(ax.collections[0].get_offsets())
    direct, effect = (rows.loc[rows["measure"] == m, "mean"] for m in ("direct", "effect"))
    assert drawn == pytest.approx(np.column_stack([direct, effect]))
    assert "Dashed: both alike." in picture.note
    assert set(picture.texts) & set(HEADS)
    fewer = pictured(SCATTER, rows.iloc[:-1])
    assert "1 more have only one of both estimates." in fewer.note


def test_what_cannot_be_drawn_says_why(pictured):
    rows = table()
    cases: list[tuple[View, pd.DataFrame, str]] = [
        (Curves("f", ""), rows, "4 rows would be drawn .* tell apart head"),
        (Curves("f", "", series="hed"), rows, "no column 'hed'"),
        (Curves("f", "", table="no"), rows, "no table 'no' .* rows"),
        (Curves("f", "{rnk}", series="head"), rows, "called 'rnk'"),
        (Curves("f", "", series="measure", where={"head": "L0H0"}),
         table(measures=("a", "b")).assign(unit=["a", "b"] * 12), "has the units a, b"),
        (Dots("f", "", y=("head",), control=("x",)), rows[rows["step"] == 0],
         "no row has against 'x'"),
        (AREAS, pd.concat([parts(), parts()]), "2 rows would be drawn"),
        (SCATTER, table(steps=(1,), measures=("direct",)), "no row has measure 'effect'"),
    ]  # fmt: skip
    for view, frame, message in cases:
        with pytest.raises(AnalysisError, match=message) as error:
            pictured(view, frame)
        assert f"where: figure {view.name}" in str(error.value)


def test_the_same_rows_give_the_same_bytes(pictured):
    assert pictured(CURVES, table()).svg == pictured(CURVES, table()).svg


def test_rows_without_a_number_are_drawn_empty(pictured):
    empty = table(steps=(300,)).assign(mean=np.nan, low=np.nan, high=np.nan, count=0)
    cells = Cells("c", "", x="step", y="head")
    for view in (CURVES, DOTS, cells):
        assert len(pictured(view, empty).axes) == 1


def overlapping(ax: Axes) -> bool:
    """Whether names along the vertical axis run into each other."""
    boxes = [t.get_window_extent() for t in ax.get_yticklabels() if t.get_text()]
    boxes.sort(key=lambda box: box.y0)
    return any(low.y1 > high.y0 + 1 for low, high in itertools.pairwise(boxes))


KEY = st.text("abzLH019_ .→Ωé", max_size=12)


@settings(
    phases=[Phase.generate],
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    keys=st.lists(KEY, min_size=1, max_size=14, unique=True),
    groups=st.lists(KEY, min_size=1, max_size=4, unique=True),
    steps=st.lists(st.integers(0, 10**6), min_size=1, max_size=5, unique=True),
    unit=st.sampled_from(["share", "probability", "logit", "1", "step", "nat"]),
    scale=st.sampled_from([0.0, 1e-6, 0.3, 40.0, 1e7]),
    data=st.data(),
)
def test_any_table_is_drawn_without_overlap(pictured, keys, groups, steps, unit, scale, data):
    rng = np.random.default_rng(len(keys))
    rows = pd.DataFrame(
        [(s, k, g) for s in steps for k in keys for g in groups], columns=["step", "key", "group"]
    )
    rows["mean"] = scale * rng.standard_normal(len(rows))
    rows["low"], rows["high"] = rows["mean"] - scale / 10, rows["mean"] + scale / 10
    rows["mean"] = rows["mean"].where(rng.random(len(rows)) > 0.1)
    rows = estimates(rows, measure="effect", unit=unit, count=9, noun="events")
    rows = control(rows, "control", mean=rows["mean"] / 2)
    kwargs = {"title": "Any", "panels": ("group",)}
    controlled = {"control": ("control",), **kwargs}
    view = data.draw(
        st.sampled_from([
            Curves(name="a", series="key", **controlled),
            Curves(name="b", x="key", series="step", **controlled),
            Dots(name="c", y=("key",), where={"step": "last"}, order="size", top=9, **controlled),
            Dots(name="d", y=("key",), series="step", **controlled),
            Cells(name="e", x="step", y="key", **controlled),
            Cells(name="f", x="key", y="step", **kwargs),
            Stack(name="g", parts="key", x="step", **kwargs),
            Stack(name="h", parts="step", y=("key",), top=5, **kwargs),
            Scatter(name="i", each=("key",), x={"step": "first"}, y={"step": "last"}, **kwargs),
        ])
    )  # fmt: skip
    picture = pictured(view, rows)
    assert len(picture.axes) == len(groups)
    assert not any(overlapping(ax) for ax in picture.axes)
