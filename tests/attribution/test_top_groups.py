"""The groups that contribute most, and the exact rest of them."""

import numpy as np
import pandas as pd
import pytest

from circuit.attribution.window import top_groups
from circuit.config.terms import COMPONENTS, REST

PARTS = [(component, "") for component in COMPONENTS]
SPLIT = [(component, data) for component in COMPONENTS[:2] for data in ("K00", "K01")]


def rows(groups, values, grouping="head", scalar="s", parts=PARTS):
    """Rows of groups G and parts of the update C with the values [G, C]."""
    return pd.DataFrame(
        [
            {
                "scalar": scalar,
                "component": component,
                "data_group": data,
                "group": group,
                "grouping": grouping,
                "attribution": float(value),
            }
            for group, line in zip(groups, values, strict=True)
            for (component, data), value in zip(parts, line, strict=True)
        ]
    )


def random_rows(count=9, **named):
    values = np.random.default_rng(4).normal(size=(count, 4))
    return rows([f"L0H{i}" for i in range(count)], values, **named)


def test_by_hand():
    """Ranked by the size of the sum over components: 3, -5, 0 (of large parts) and -1."""
    values = [[1, 1, 1, 0], [-5, 0, 0, 0], [9, -9, 0, 0], [0, 0, 0, -1]]
    found = top_groups(rows("abcd", values), 2)
    table = found.pivot(index="group", columns="component", values="attribution")
    assert list(dict.fromkeys(found["group"])) == ["b", "a", REST]
    assert table.loc[REST, list(COMPONENTS)].tolist() == [9, -9, 0, -1]
    assert table.loc["a", list(COMPONENTS)].tolist() == [1, 1, 1, 0]
    assert dict(zip(found["group"], found["groups"], strict=True)) == {"b": 1, "a": 1, REST: 2}


@pytest.mark.parametrize("parts", [PARTS, SPLIT], ids=["components", "data groups"])
@pytest.mark.parametrize("k", [1, 4, 8])
def test_rows_still_sum_to_the_whole(parts, k):
    """Every part of the update on its own, for every scalar and grouping on its own."""
    one, other = random_rows(parts=parts), random_rows(6, grouping="module", parts=parts)
    third = random_rows(5, scalar="t", parts=parts).assign(attribution=lambda t: -2 * t.attribution)
    summed = pd.concat([one, other, third], ignore_index=True)
    found = top_groups(summed, k)
    assert list(found) == [*summed.columns, "groups"]
    keys = ["scalar", "grouping", "component", "data_group"]
    whole, parts_of = (t.groupby(keys)["attribution"].sum() for t in (summed, found))
    pd.testing.assert_series_equal(whole, parts_of, rtol=1e-12)
    for (scalar, grouping), part in found.groupby(["scalar", "grouping"]):
        of = summed[(summed["scalar"] == scalar) & (summed["grouping"] == grouping)]
        held = part.drop_duplicates("group")["groups"].sum()
        assert held == of["group"].nunique()
        totals = of.groupby("group")["attribution"].sum().abs()
        named = [group for group in dict.fromkeys(part["group"]) if group != REST]
        assert named == totals.nlargest(k).index.tolist()
        assert not part.duplicated(["group", "component", "data_group"]).any()


def test_few_groups_have_no_rest():
    summed = random_rows(3)
    found = top_groups(summed, 3)
    assert REST not in set(found["group"])
    assert set(found["groups"]) == {1}
    key = ["group", "component"]
    pd.testing.assert_frame_equal(
        found.sort_values(key)[summed.columns].reset_index(drop=True),
        summed.sort_values(key).reset_index(drop=True),
    )


def test_what_a_list_leaves_over_stays_in_the_rest_however_much_it_is():
    values = [[1, 0, 0, 0], [2, 0, 0, 0], [100, 0, 0, 0], [3, 0, 0, 0]]
    found = top_groups(rows(["a", "b", REST, "c"], values, "circuit"), 2)
    assert list(dict.fromkeys(found["group"])) == ["c", "b", REST]
    rest = found[found["group"] == REST]
    assert rest["attribution"].tolist() == [101, 0, 0, 0]
    assert set(rest["groups"]) == {2}
    every = top_groups(rows(["a", "b", REST, "c"], values, "circuit"), 12)
    assert list(dict.fromkeys(every["group"])) == ["c", "b", "a", REST]
    assert every["groups"].eq(1).all()


def test_of_equal_groups_the_first_comes_first():
    found = top_groups(rows("abc", np.ones((3, 4))), 2)
    assert list(dict.fromkeys(found["group"])) == ["a", "b", REST]
