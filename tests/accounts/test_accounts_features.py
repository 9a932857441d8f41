"""What the account of a dictionary says, of a 'run' in which the previous-token head forms."""

import pytest
from account_checks import numbers_of, written

from circuit.kinds.shared_features.settings import Settings
from circuit.measures.features.shared import shared_features
from circuit.measures.sweep.behaviour import SplitReads
from circuit.model.passes import Passes
from circuit.reports.accounts_features import shared

PASSES = Passes(whole=3, programs=480, program_layers=960.0)
STAGE = "layer_0_post_attn"


@pytest.fixture(scope="module")
def found(planted, planted_benchmark):
    """Without the previous-token head's write at the first two checkpoints."""
    last = planted.flat.float()
    before = last.clone()
    planted.decoder.layout.views(before)["layer_0.attn.W_O"][
        int(planted.previous_token_head[3])
    ] = 0
    settings = Settings(kind="shared_features", stage=STAGE, size=96, steps=400, learning_rate=1e-2)
    return shared_features(
        planted.decoder,
        {0: before, 600: before, 1200: last}.__getitem__,
        (0, 600, 1200),
        SplitReads(planted_benchmark.splits["train"], planted_benchmark.vocabulary, 160),
        planted_benchmark.vocabulary,
        settings,
    )


def tell(found):
    return shared(found.rows, found.features, found.families, STAGE, PASSES, (160, 2))


def changed(found, measure, means):
    """The same with other values of a measure at the checkpoints."""
    rows = found.rows.copy()
    at = rows["measure"] == measure
    for end, by in (("mean", 0), ("low", -0.01), ("high", 0.01)):
        rows.loc[at, end] = rows.loc[at, "step"].map(means) + by
    return found._replace(rows=rows)


def test_the_answer_says_how_good_the_dictionary_is_and_what_its_features_tell(found, tmp_path):
    account = tell(found)
    content, text = written(account, "shared_features", tmp_path)
    rows = found.rows[found.rows["step"] == 1200].set_index("measure")
    r2 = rows.loc["r2"]
    assert account.answer.startswith(
        f"One dictionary of 96 features explains {r2['mean']:.1%} of the variance of states at "
        f"layer_0_post_attn at step 1,200 (95% interval {r2['low']:.1%} to {r2['high']:.1%}) with "
        f"{rows.loc['active_features', 'mean']:.1f} features active at a time: "
        f"{100 * rows.loc['gain', 'mean']:.1f} percentage points more than as many principal "
        "components. At every checkpoint it explains at least half; "
    )
    assert " features are dead at the last checkpoint, " in account.answer
    families = found.families.set_index("family")
    told, high = families.loc["query_key@support_value", ["share", "shuffled_high"]]
    mine = found.rows[
        (found.rows["family"] == "query_key@support_value") & (found.rows["measure"] == "score")
    ]["mean"].tolist()
    assert (
        f"The query key at support value explains {told:.0%} of the variance of 4 features' "
        f"activation on held-out programs (shuffled labels up to {high:.0%}); their mean "
        f"activation there went from {mine[0]:.3f} to {mine[2]:.3f}, most between steps 600 "
        "and 1,200 (other features: "
    ) in account.answer
    numbers = numbers_of(account)
    assert numbers["forward passes"].value == 3
    assert numbers["dictionary minus principal components, at step 1,200"].signed
    assert "variance of activation that the label explains, family query_key@prediction" in numbers
    assert "the token itself names the label" in text
    assert not account.marks
    assert content["tables"][0]["title"] == "The dictionary at checkpoints"
    assert max(len(table["rows"]) for table in content["tables"]) <= 40


def test_labels_that_no_feature_tells_are_said_to_be_told_by_none(found):
    """Layer 0 knows nothing of the answer at the prediction position."""
    answer = tell(found).answer
    assert "No 4 features tell the answer at prediction: it explains " in answer
    assert "The answer at support value" not in answer  # the token itself names it


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (-0.05, ": 5.0 percentage points less than as many principal components."),
        (0.0, ": no more and no less than as many principal components."),
    ],
)
def test_a_dictionary_no_better_than_principal_components_is_said_to_be(
    found, tmp_path, gain, said
):
    account = tell(changed(found, "gain", dict.fromkeys((0, 600, 1200), gain)))
    written(account, "shared_features", tmp_path)
    assert said in account.answer


def test_a_dictionary_that_serves_late_checkpoints_only_says_since_when(found, tmp_path):
    account = tell(changed(found, "r2", {0: -0.3, 600: 0.7, 1200: 0.9}))
    written(account, "shared_features", tmp_path)
    assert (
        "From step 600 on it explains at least half at every checkpoint, before that as little as "
        "−30.0% at step 0 (worse than their mean); "
    ) in account.answer


def test_a_dictionary_that_explains_little_is_marked(found, tmp_path):
    account = tell(changed(found, "r2", {0: 0.1, 600: 0.9, 1200: 0.3}))
    written(account, "shared_features", tmp_path)
    assert "At the end of training it explains less than half; " in account.answer
    assert account.marks[0].startswith("The dictionary leaves more than half of the last checkp")


def test_features_that_the_token_names_are_not_in_the_table_of_single_ones(found):
    table = tell(found).tables[3].frame
    assert set(table["label"]) <= {"event_part", "answer", "query_key"}
    assert not ((table["label"] == "answer") & (table["role"] == "support_value")).any()
    assert table["share"].is_monotonic_decreasing
    assert 4 <= len(table) <= 20
