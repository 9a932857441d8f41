"""What example gradients say: what makes reads push alike, and what opposes what."""

import pandas as pd
import pytest
from account_checks import numbers_of, written

from circuit.attribution import gradient_relations
from circuit.model.passes import Passes
from circuit.reports import accounts_examples, example_numbers
from circuit.reports.accounts_examples import examples

PASSES = Passes(whole=20, continued=0, programs=1200, program_layers=2400.0)
STEPS = (500, 1300)
EFFECTS = dict.fromkeys(gradient_relations.RELATIONS, 0.0) | {
    "answer_value": 0.10,
    "query_key": 0.04,
    "route": 0.20,
}


def rows(steps=STEPS, effects=EFFECTS):
    lines = []
    for step in steps:
        for measure in gradient_relations.MEASURES:
            lines.append((step, "all", "all", measure, 0.05))
            for name, effect in effects.items():
                means = {"same": 0.03 + effect, "different": 0.03, "difference": effect}
                means |= {"shuffled": 0.0} | ({} if name == "route" else {"net": effect / 2})
                lines += [(step, name, which, measure, mean) for which, mean in means.items()]
        lines += [(step, "all", "all", m, 0.02) for m in ("coherence", "off_diagonal_share")]
        for route in ("looking", "copying"):
            lines += [(step, "route", route, m, 0.5) for m in ("alignment", "supporters")]
    found = pd.DataFrame(lines, columns=["step", "relation", "which", "measure", "mean"])
    units = {**gradient_relations.MEASURES, "alignment": "1", "supporters": "share"}
    found["unit"] = found["measure"].map(units).fillna("share")
    return found.assign(low=found["mean"] - 0.01, high=found["mean"] + 0.01, pairs=900, reads=60)


def conflicts(steps=STEPS, between=-0.05, values=6):
    groups = {
        "query_key": ("K00", "K01"),
        "answer_value": tuple(f"V{i:03d}" for i in range(values)),
        "split": ("heldout_pairs", "train"),
        "correct": ("right", "wrong"),
        "route": ("copying", "looking"),
    }
    lines = [
        (step, relation, group, other, 0.2 if group == other else between)
        for step in steps
        for relation, names in groups.items()
        for i, group in enumerate(names)
        for other in names[i:]
    ]
    found = pd.DataFrame(lines, columns=["step", "relation", "group", "other", "mean"])
    return found.assign(low=found["mean"] - 0.02, high=found["mean"] + 0.02, pairs=200, reads=30)


def told(table=None, edges=None, groups=(), backward=24):
    return examples(
        rows() if table is None else table,
        conflicts() if edges is None else edges,
        ("looking", "copying"),
        groups,
        PASSES,
        backward,
        2,
    )


def test_the_strongest_relation_comes_first_with_its_control(tmp_path):
    found = told()
    written(found, "example_gradients", tmp_path)
    first, rest = found.answer.split(". ", 1)
    assert first == (
        "At step 1,300 two reads with the same answer value push the parameters more alike than "
        "two without: mean cosine of gradients +0.130 against +0.030 (difference +0.100, 95% "
        "interval +0.090 to +0.110; with shuffled labels −0.010 to +0.010)"
    )
    assert rest.startswith("At step 500 what told most was the same answer value (difference")
    assert "Of all pairs 5.0% are opposed" in rest
    assert "2.0% is what all reads have in common (coherence" in rest
    assert found.marks == []


@pytest.mark.parametrize(
    ("between", "says"),
    [
        (-0.05, "push against each other (mean cosine −0.050"),
        (0.05, "push alike (mean cosine +0.050"),
        (0.0, "neither clearly push alike nor against each other (mean cosine 0.000"),
    ],
)
def test_supporters_are_set_against_each_other(between, says):
    answer = told(edges=conflicts(between=between)).answer
    assert f"Reads that support looking and reads that support copying {says}" in answer
    assert "outside the two routes' own gradients two supporters of one route are still" in answer


def test_outside_the_routes_may_be_nothing():
    table = rows(effects=EFFECTS | {"route": 0.0})
    assert "are not clearly more alike than others (difference 0.000" in told(table).answer


def test_where_nothing_tells_it_is_said(tmp_path):
    table = rows(effects=dict.fromkeys(EFFECTS, 0.0) | {"route": 0.2})
    found = told(table)
    written(found, "example_gradients", tmp_path)
    assert found.answer.startswith(
        "At step 1,300 nothing that two reads share tells how alike they push: no difference of "
        "mean cosines has an interval beyond 0 and what shuffled labels give; over all pairs the "
        "mean cosine is +0.050"
    )
    assert "At step 500 nothing that they share told." in found.answer


def test_a_difference_within_what_shuffling_gives_does_not_count():
    table = rows()
    wide = (table["which"] == "shuffled") & (table["relation"] == "answer_value")
    table.loc[wide, "high"] = 0.2
    assert "two reads with the same query key push" in told(table).answer


def test_one_that_makes_less_alike_is_told_so():
    table = rows(effects=EFFECTS | {"split": -0.3})
    assert "two reads with the same split push the parameters less alike" in told(table).answer


def test_one_checkpoint_has_no_before(tmp_path):
    found = told(rows((1300,)), conflicts((1300,)))
    written(found, "example_gradients", tmp_path)
    assert "what told most" not in found.answer
    assert "step 500" not in found.answer


def test_groups_that_alone_count_are_named():
    assert "two without, gradients in L1H2.q, L1H2.k alone: mean" in (
        told(groups=("L1H2.q", "L1H2.k")).answer
    )


def test_what_could_not_be_compared_is_marked(tmp_path):
    table = rows(effects={k: v for k, v in EFFECTS.items() if k not in ("correct", "route")})
    edges = conflicts()
    found = told(table, edges[~((edges["relation"] == "route") & (edges["group"] == "copying"))])
    written(found, "example_gradients", tmp_path)
    assert found.marks[1] == (
        "At step 1,300 too few reads have, or lack, the same correctness, or the same supported "
        "route to compare."
    )
    assert found.answer.endswith(
        "Too few reads support one of the routes looking and copying to set them against the other."
    )


def test_nothing_at_all_to_compare_is_told(tmp_path):
    found = told(rows((0,), {}), conflicts((0,)))
    written(found, "example_gradients", tmp_path)
    assert found.answer.startswith("At step 0 nothing that two reads share tells")


def test_numbers_have_units_counts_and_controls():
    found = numbers_of(told())
    value = found["mean cosine with the same answer value − without, step 1,300"]
    assert (value.value, value.count, value.unit) == (pytest.approx(0.1), 60, "1")
    assert value.note == (
        "900 pairs share it; shuffled labels: −0.010 to +0.010; net of what else they share "
        "+0.050 (+0.040 to +0.060)"
    )
    assert found["gradient coherence, step 500"].unit == "share"
    assert found["reads that support looking, step 500"].unit == "share"
    assert found["mean product of two reads' gradients, step 500"].unit == "nat²/parameter unit²"
    assert found["pairs of groups that oppose each other, step 1,300"].value == 1 + 15 + 3
    assert found["forward passes"].value == 2400 / (60 * 2)
    assert found["backward passes"].value == 24


def test_tables_stay_short():
    found = told(edges=conflicts(values=60))
    assert [len(table.frame) for table in found.tables] == [2 * len(EFFECTS), 9, 12]
    route = found.tables[0].frame.set_index(["step", "shared"]).loc[(500, "supported route")]
    assert pd.isna(route["net"])


def test_every_relation_has_its_words():
    assert tuple(example_numbers.SHARED) == gradient_relations.RELATIONS
    assert accounts_examples._MADE_ALIKE == gradient_relations.MADE_ALIKE
