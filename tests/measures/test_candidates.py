"""Candidates: the planted one wins, its control does nothing, and twins have no winner."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from planted import untrained_twin
from tiny_run import finish, tiny_recipe, tiny_trajectory

from circuit.config.recipe import ModelSettings
from circuit.config.scalar import DictionaryFamilies, ScalarSettings
from circuit.errors import AnalysisError
from circuit.estimates import FIXED
from circuit.kinds.candidates.measure import candidate_rows
from circuit.kinds.candidates.settings import Settings
from circuit.measures.candidates.descent import objective_batches
from circuit.measures.candidates.follow import follow, follow_run, spread
from circuit.measures.candidates.gradient_link import own_parameters
from circuit.measures.candidates.ranking import EVERY, early_signs, rank_candidates
from circuit.measures.candidates.registry import expand, found_families
from circuit.model.counting import CountingDecoder
from circuit.scalars.evaluate import Evaluator
from circuit.scalars.features import Dictionary
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.task.publish import write_benchmark
from circuit.training.records import RunRecord

STEPS = (0, 50, 100)
CANDIDATES = {
    "qk": {"scalar": "qk_separation", "head": "every"},
    "answer": {"scalar": "correct_value_logit"},
}


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(range(0, 171, 4))


@pytest.fixture(scope="module")
def batches(planted_benchmark):
    programs = planted_benchmark.splits["validation_iid"].head(16)
    return {"validation_iid": objective_batches(programs, planted_benchmark.vocabulary, 4)}


def competed(circuit, states, events, batches, named=CANDIDATES, decoder=None):
    """Candidates over states at ``STEPS``, and their ranking."""
    theta = dict(zip(STEPS, states, strict=True)).__getitem__
    ids = circuit.vocabulary.value_ids
    specs = {name: ScalarSettings.model_validate(spec) for name, spec in named.items()}
    specs, groups = expand(specs, circuit.decoder.settings)
    context = ScalarContext(circuit.decoder, events, ids, {}, theta, (0, 100), 100)
    scalars = {name: build_scalar(spec, context) for name, spec in specs.items()}
    evaluator = Evaluator(decoder or circuit.decoder, events, ids)
    own = own_parameters(specs.values(), circuit.decoder.layout, {})
    where = (evaluator, theta, STEPS, (0, 100), (0,))
    frame = follow(*where, scalars, own, batches, "train")
    about = [(n, groups[n], s.unit) for n, s in specs.items()]
    about = pd.DataFrame(about, columns=["candidate", "group", "unit"])
    return frame, rank_candidates(about, frame.values[0], frame.values[100], 100)


def sizes(ranking, half="confirmation", measure="effect_size", against=""):
    """Estimates of every candidate by its name, in the order of their rank."""
    rows = ranking.rows
    rows = rows[(rows["measure"] == measure) & (rows["against"] == against)]
    return rows[rows["half"] == half].set_index("candidate")


@pytest.fixture(scope="module")
def formed(planted, untrained, events, batches):
    """A 'run' on the straight line from untrained to planted."""
    states = [torch.lerp(untrained.flat, planted.flat, u) for u in (0.0, 0.5, 1.0)]
    return competed(planted, states, events, batches, {"qk": CANDIDATES["qk"]})


def test_the_matching_heads_route_wins_and_the_control_does_nothing(formed, planted):
    _, ranking = formed
    size, change = sizes(ranking), sizes(ranking, measure="change")["mean"]
    beyond = sizes(ranking, against="excess")
    winner = f"qk {planted.matching_head}"
    assert ranking.roles["winner"] == size["mean"].idxmax() == size.index[0] == winner
    assert size["mean"][winner] > size["low"][winner] > 4
    assert beyond["mean"][winner] > beyond["low"][winner] > 4
    assert ranking.roles["bottom"] not in beyond.index
    assert change[winner] == pytest.approx(74, abs=4)
    assert abs(change[ranking.roles["bottom"]]) < 0.005 * change[winner]
    assert size["mean"].drop(winner).max() < 0.25 * size["mean"][winner]


def test_strengths_and_changes_are_means_over_events(formed, events):
    frame, _ = formed
    rows = frame.rows.set_index(["candidate", "measure", "step"])
    values = {step: frame.values[step][6] for step in STEPS}  # heads in order: L1H2 is the seventh
    for step in STEPS:
        strength = rows.loc[("qk L1H2", "strength", step)]
        change = rows.loc[("qk L1H2", "change", step)]
        assert strength["mean"] == pytest.approx(values[step].mean())
        assert change["mean"] == pytest.approx((values[step] - values[0]).mean(), abs=1e-9)
        assert strength["low"] <= strength["mean"] <= strength["high"]
        assert strength["count"] == change["count"] == len(events)
    assert rows.loc[("qk L1H2", "change", 0)][["low", "high"]].tolist() == [0, 0]


def test_effect_sizes_are_mean_changes_over_pooled_deviations(formed):
    frame, ranking = formed
    changes = sizes(ranking, measure="change")["mean"]
    for half, events in (("selection", slice(0, None, 2)), ("confirmation", slice(1, None, 2))):
        size, beyond = (sizes(ranking, half, against=one) for one in ("", "excess"))
        control = size["mean"][ranking.roles["bottom"]]
        for candidate, row in size.iterrows():
            place = int(candidate[4]) * 4 + int(candidate[6])
            first, last = (frame.values[step][place] for step in (0, 100))
            pooled = np.sqrt((np.var(first[events], ddof=1) + np.var(last[events], ddof=1)) / 2)
            assert row["mean"] == pytest.approx((last - first)[events].mean() / pooled)
            assert row["low"] <= row["mean"] <= row["high"]
            if candidate in beyond.index:
                assert beyond["mean"][candidate] == pytest.approx(row["mean"] - control)
            if half == "confirmation":
                assert changes[candidate] == pytest.approx((last - first)[events].mean())


def test_between_a_state_and_itself_no_route_grows(untrained, events, batches):
    _, ranking = competed(untrained, [untrained.flat] * 3, events, batches)
    assert (ranking.rows[["mean", "low", "high"]] == 0).all(axis=None)


def test_between_two_untrained_twins_no_route_grows_as_a_planted_one_does(
    untrained, formed, events, batches
):
    """An untrained head prefers some positions a little (see the head scan): size tells."""
    learned = sizes(formed[1], measure="change")["mean"].max()
    other = untrained_twin(untrained, 1).flat
    states = [untrained.flat, torch.lerp(untrained.flat, other, 0.5), other]
    _, ranking = competed(untrained, states, events, batches, {"qk": CANDIDATES["qk"]})
    change = sizes(ranking, measure="change")
    assert change[["low", "high"]].abs().max(axis=None) < 0.02 * learned


def test_descent_on_answers_rebuilds_the_matching_heads_route_more_than_any_other(
    planted, events, batches
):
    """In a planted circuit whose matching head has weak queries; exchanged answers do not."""
    weak = planted.flat.clone()
    w = planted.decoder.layout.views(weak)
    for name in ("W_QKV", "b_QKV"):
        w[f"layer_1.attn.{name}"][0, 2] *= 0.02
    frame, _ = competed(planted, [weak] * 3, events, batches, {"qk": CANDIDATES["qk"]})
    start = frame.rows[(frame.rows["step"] == 0) & (frame.rows["measure"] == "alignment")]
    by = start.set_index(["objective", "candidate"])
    pushed = by.loc["answers"]["mean"].drop("qk L1H2").max()
    assert by.loc[("answers", "qk L1H2"), "low"] > max(pushed, 0)
    assert by.loc[("shuffled_answers", "qk L1H2"), "mean"] < 0


def test_passes_are_counted(planted, untrained, events, batches):
    counting = CountingDecoder(planted.decoder)
    states = [untrained.flat, untrained.flat, planted.flat]
    frame, _ = competed(planted, states, events, batches, {"qk": CANDIDATES["qk"]}, counting)
    chunks = 4 * 3
    compared, driven = 1 + 4, 3  # gradients of chunks of events; both ends in forward mode
    assert counting.passes.whole == 3 + 2 * chunks + compared + driven
    assert frame.backward == 2 * (8 + chunks) + 4 * 8


def test_a_route_for_every_head_and_one_for_itself():
    shape = ModelSettings(n_layers=2, n_heads=3, d_model=12, d_ff=4, context=8)
    candidates = {name: ScalarSettings.model_validate(spec) for name, spec in CANDIDATES.items()}
    found, groups = expand(candidates, shape)
    heads = [f"L{layer}H{head}" for layer in range(2) for head in range(3)]
    assert list(found) == [*(f"qk {head}" for head in heads), "answer"]
    assert [spec.head for spec in found.values()] == [*heads, None]
    assert set(groups.values()) == {"qk", "answer"}


@pytest.mark.parametrize(
    ("steps", "most", "expected"),
    [
        ([0, 1, 2, 3, 4], 3, [0, 2, 4]),
        ([0, 1, 2, 3], 2, [0, 3]),
        ([5, 6], 4, [5, 6]),
        ([5], 4, [5]),
    ],
)
def test_gradient_steps_are_spread_with_both_ends(steps, most, expected):
    assert spread(steps, most) == expected


def hand_made(grown, aligned, still=()):
    """Made-up candidates r0, r1, … of one family that grew so much; some never differ in events."""
    candidates = pd.DataFrame({"candidate": [f"r{i}" for i in range(len(grown))]})
    candidates = candidates.assign(group="f", unit="score")
    around = np.array([[0.0] * 4 if i in still else [-1, -1, 1, 1] for i in range(len(grown))])
    ranking = rank_candidates(candidates, around, around + np.array(grown)[:, None], 9)
    pushed = candidates[["candidate"]].assign(
        step=0, mean=aligned, split="train", programs="trained on"
    )
    rows = [pushed.assign(measure=name, objective="tokens") for name in ("alignment", "push")]
    return pd.concat(rows), ranking, candidates, around


def test_early_signs_are_spearmans():
    generator = np.random.default_rng(5)
    grown, aligned = generator.normal(size=(2, 9))
    found = early_signs(*hand_made(grown, aligned)).set_index(["among", "measure"])
    expected = scipy.stats.spearmanr(aligned, grown).statistic
    for among, measure in ((EVERY, "alignment"), (EVERY, "push"), ("f", "alignment")):
        row = found.loc[(among, f"{measure}_size_correlation")]
        assert row["mean"] == pytest.approx(expected)
        assert row["low"] < row["mean"] < row["high"]
        assert (row["count"], row["noun"]) == (9, "candidates")


def test_few_routes_or_routes_all_alike_have_no_correlation():
    assert early_signs(*hand_made([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])).empty
    assert early_signs(*hand_made([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0])).empty
    assert early_signs(*hand_made([1.0, 2.0, 3.0, 4.0], [1.0, 2, 3, 4], still=(0,))).empty
    some = early_signs(*hand_made([0.0, 2.0, 3.0, 4.0], [1.0, 2, 3, 4], still=(0,)))
    assert set(some["measure"]) == {"alignment_size_correlation"}


def test_a_route_with_one_value_on_all_events_has_no_size_and_ranks_last():
    first = np.array([[0.0, 0, 0, 0], [0.0, 1, 2, 1], [0.0, 1, 2, 3], [0.0, 0, 1, 1]])
    last = np.array([[1.0, 1, 1, 1], [1.0, 2, 3, 3], [0.0, 1, 2, 4], [5.0, 5, 6, 6]])
    about = pd.DataFrame({"candidate": list("abcd"), "group": "f", "unit": ""})
    ranking = rank_candidates(about, first, last, 1)
    assert sizes(ranking).index[-1] == "a"
    assert np.isnan(sizes(ranking)["mean"]["a"])
    assert (ranking.roles["winner"], ranking.roles["bottom"]) == ("d", "c")


def test_two_routes_are_too_few():
    about = pd.DataFrame({"candidate": list("ab"), "unit": ""})
    with pytest.raises(AnalysisError, match=r"^2 candidates give no winner, runner-up and control"):
        rank_candidates(about, np.zeros((2, 4)), np.ones((2, 4)), 1)


def test_a_finished_run_is_followed_from_its_files(planted_benchmark, tmp_path):
    metadata = write_benchmark(tmp_path / "data", planted_benchmark)
    recipe = tiny_recipe(steps=6, checkpoint_every=2, early_checkpoints=())
    trajectory = tiny_trajectory(planted_benchmark, recipe, digest=metadata.digest)
    finish(trajectory, tmp_path / "run", metadata.digest)
    record = RunRecord(tmp_path / "run" / "manifest.json", tmp_path / "data")
    settings = Settings.model_validate(
        {
            "kind": "candidates",
            "window": [2, 6],
            "candidates": CANDIDATES,
            "train_programs": 8,
            "chunks": 2,
            "checkpoints": 2,
        }
    )
    frame, candidates = follow_run(record, record.decoder, settings, (2, 6))
    assert sorted(frame.values) == [2, 4, 6]
    rows = frame.rows
    assert set(rows.loc[rows["split"] != "", "step"]) == {2, 6}
    splits = set(zip(rows["split"], rows["programs"], strict=True))
    assert splits == {("", ""), ("train", "trained on"), ("validation_iid", "not trained on")}
    found = candidate_rows(frame, candidates)
    assert list(found.columns[-len(FIXED) :]) == list(FIXED)
    assert set(found["candidate"]) - {""} == set(candidates["candidate"])
    assert sorted(found["chosen"].unique()) == ["", "bottom", "runner_up", "winner"]


def dictionary(**families):
    """Two features of the states after layer 0's attention."""
    w = torch.eye(4)[:, :2]
    return Dictionary(w, torch.zeros(2), w.T, torch.zeros(4), "layer_0_post_attn", families)


def test_every_family_with_a_feature_is_a_candidate_at_its_role():
    asked = DictionaryFamilies(dictionary="d")
    made = dictionary(**{"answer@prediction": (1,), "query_key@support_value": ()})
    found = found_families(asked, {"d": made})
    assert list(found) == ["answer@prediction"]
    score = found["answer@prediction"]
    assert (score.scalar, score.dictionary, score.role) == ("feature_score", "d", "prediction")
    assert found_families(None, {"d": made}) == {}


def test_a_dictionary_without_families_gives_no_candidates():
    message = r"^dictionary 'd' has no family of features — where: candidates: families"
    with pytest.raises(AnalysisError, match=message):
        found_families(DictionaryFamilies(dictionary="d"), {"d": dictionary()})


def test_where_a_layer_s_input_is_read_only_that_layer_s_heads_compete():
    shape = ModelSettings(n_layers=2, n_heads=3, d_model=6, d_ff=8, context=8)
    candidate = ScalarSettings(
        scalar="subspace_projection",
        stage="layer_1_attn_input",
        role="support_value",
        subspace="head_qk_key",
        rank=1,
        head="every",
    )
    found, _ = expand({"key": candidate}, shape)
    assert list(found) == ["key L1H0", "key L1H1", "key L1H2"]
