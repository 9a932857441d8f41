"""A head's score taken apart: identities, the planted pair, its causes, and where nothing is."""

import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from planted import untrained_twin
from pydantic import ValidationError
from viewing import outcome, viewed

from circuit.config.plan import Plan
from circuit.config.study import load_settings
from circuit.errors import AnalysisError, ConfigError, MismatchError
from circuit.kinds.qk_features.measure import measure
from circuit.kinds.qk_features.settings import Settings
from circuit.measures.heads.qk_parts import (
    CAUSES,
    ERROR,
    QUERIES,
    QUERY_BIAS,
    Looked,
    qk_features,
    read_state,
    wanted,
)
from circuit.measuring import Table
from circuit.model.sites import parse_head
from circuit.scalars.base import look
from circuit.scalars.features import Dictionary
from circuit.scalars.routing import qk_separation

EXACT = {"rtol": 1e-10, "atol": 1e-10}
PAIR, CAUSE = "pair that makes the match", "cause that carried its growth"
MATCH = "token × L0H1"
PARTS = ("components", "neurons", "layer_0_post_mlp", "layer_1_attn_input")


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(torch.arange(0, 171, 4)).crop()


def flat_of(circuit, seed):
    """Parameters all of which matter: gains, biases and noise too."""
    generator = torch.Generator().manual_seed(seed)
    flat = circuit.flat.clone()
    for view in circuit.decoder.layout.views(flat).values():
        noise = torch.randn(view.shape, generator=generator, dtype=flat.dtype)
        view.add_(noise, alpha=0.1)
    return flat


def dictionary_of(circuit, stage, features=40, seed=3):
    """Features in random directions: what they miss is large."""
    generator = torch.Generator().manual_seed(seed)
    width = circuit.decoder.settings.d_model
    w = torch.randn(width, features, generator=generator) / width**0.5
    one = torch.randn(features + width, generator=generator)
    return Dictionary(w, one[:features], w.T.contiguous(), one[features:], stage)


def looked_at(circuit, events, *flats, head="L1H2", parts="components", role="support_value"):
    """A head of states as checkpoints 0, 1, … of a run, and how many members stand apart."""
    dictionary = dictionary_of(circuit, parts) if parts.startswith("layer") else None
    ids = circuit.vocabulary.value_ids, circuit.vocabulary.key_ids
    at = parse_head(head, 2, 4)
    looked = Looked(circuit.decoder, flats.__getitem__, events, *ids, at, role, dictionary)
    return looked, 0 if parts == "components" else 3


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("head", ["L1H2", "L0H1"])
def test_terms_sum_to_the_models_own_score_at_every_key(planted, events, parts, head):
    if head == "L0H1":
        parts = parts.replace("layer_0_post_mlp", "embedding").replace("layer_1", "layer_0")
    stage = parts if parts not in PARTS[:2] else ""
    dictionary = dictionary_of(planted, stage) if stage else None
    layer, h = parse_head(head, 2, 4)
    for dtype, within in ((torch.float64, EXACT), (torch.float32, {"rtol": 1e-5, "atol": 1e-3})):
        flat, ids = flat_of(planted, 1).to(dtype), planted.vocabulary.value_ids
        own = look(planted.decoder, flat, events, ids, frozenset({f"layer_{layer}_scores"}))
        seen = look(planted.decoder, flat.double(), events, ids, wanted(layer, dictionary))
        w = seen.params[f"layer_{layer}.attn.W_QKV"][:, h]
        b = seen.params[f"layer_{layer}.attn.b_QKV"][:, h]
        groups = {"L0MLP": [1, 5], "feature": [0, 7]}

        def parts_at(role, seen=seen, groups=groups):
            at = events.role_mask(role).double()
            return read_state(seen, layer, at, dictionary).apart(groups)[1]

        query = torch.cat([parts_at("prediction") @ w[0].T, b[0].expand(len(events), 1, -1)], 1)
        for role in ("support_value", "support_key", "prediction"):
            key = torch.cat([parts_at(role) @ w[1].T, b[1].expand(len(events), 1, -1)], 1)
            summed = (query @ key.transpose(1, 2)).sum((1, 2)) / len(b[0]) ** 0.5
            rows = torch.arange(len(events)), h, events.prediction, events.role_position(role)
            score = own.sites[f"layer_{layer}_scores"][rows].double()
            torch.testing.assert_close(summed, score, **within)


@pytest.mark.parametrize("parts", PARTS)
def test_terms_over_rivals_sum_to_the_separation_of_other_reports(planted, events, parts):
    looked, count = looked_at(planted, events, flat_of(planted, 1), parts=parts)
    members = looked.members(0, count)
    queries, keys, found = looked.sides(0, members)
    sides = found[""]
    assert sides.terms.shape == (len(events), len(queries), len(keys))
    assert queries[-1] == QUERY_BIAS
    assert len(set(queries)) == len(queries)
    assert all(sum(map(len, side.values())) == count for side in members)
    seen = looked.states(0)[0]
    torch.testing.assert_close(
        sides.terms.sum((1, 2)), qk_separation(looked.head)(seen).detach(), **EXACT
    )


def changed(circuit, flat, *names, seed=9):
    """The same parameters but for those named, of which a head's projection is one."""
    other, found = flat_of(circuit, seed), flat.clone()
    views, into = (circuit.decoder.layout.views(one) for one in (other, found))
    for name, _, projection in (one.partition("#") for one in names):
        if projection:
            into[name][int(projection), 2] = views[name][int(projection), 2]
        else:
            into[name].copy_(views[name])
    return found


CHANGES = {
    "W_Q": ("layer_1.attn.W_QKV#0", "layer_1.attn.b_QKV#0"),
    "W_K": ("layer_1.attn.W_QKV#1", "layer_1.attn.b_QKV#1"),
    "": ("layer_1.ln1.gain", "layer_1.ln1.bias", "embedding.token", "layer_0.mlp.W_out"),
}


@pytest.mark.parametrize(
    ("cause", "parts"), [*zip(CHANGES, ("neurons", "layer_0_post_mlp", "neurons"), strict=True)]
)
def test_change_splits_without_remainder_into_what_changed(planted, events, cause, parts):
    flat = flat_of(planted, 1)
    flats = (flat, changed(planted, flat, *CHANGES[cause]), flat_of(planted, 2))
    looked, count = looked_at(planted, events, *flats, parts=parts)
    found = qk_features(looked, range(3), count, 4)
    change = found.changes[found.changes["against"] == ""].pivot(
        index=["pair", "step"], columns="cause", values="mean"
    )
    np.testing.assert_allclose(change[list(CAUSES)].sum(axis=1), change["together"], **EXACT)
    rows = found.rows[(found.rows["against"] == "") & (found.rows["half"] == "all")]
    term = rows[rows["measure"] == "term"].pivot(index="pair", columns="step", values="mean")
    for step in (0, 1):
        grown = change["together"].xs(step, level="step").reindex(term.index)
        np.testing.assert_allclose(grown, term[step + 1] - term[step], **EXACT)
    growth = rows[(rows["measure"] == "growth") & (rows["cause"] == "together")]
    summed = change["together"].groupby("pair").sum().reindex(growth["pair"])
    np.testing.assert_allclose(summed, growth["mean"], **EXACT)
    # Between the first two checkpoints only one thing changed, or both states.
    still = set(CAUSES) - ({cause} if cause else {"query's state", "key's state"})
    assert change.xs(0, level="step")[list(still)].abs().to_numpy().max() < 1e-10
    assert change.xs(0, level="step")["together"].abs().max() > 0.1


def seen_in(found, folder, draw=True):
    tables = {
        "rows": Table(found.rows, "one"),
        "pairs": Table(found.pairs, "one"),
        "changes": Table(found.changes, "one", {"stop": "step"}),
    }
    named = {"head": "L1H2"}
    return viewed("qk_features", tables, folder, named, named, draw=draw)


def test_queries_for_other_keys_are_those_of_the_same_program(planted, events):
    looked, _ = looked_at(planted, events, flat_of(planted, 1))
    sides = looked.sides(0, ({}, {}))[2]
    found = []
    for program, asked in enumerate(events.query_key_id.tolist()):
        for key in set(planted.vocabulary.key_ids) - {asked}:
            tokens = events.tokens[program].clone()
            tokens[events.prediction[program]] = key
            other = replace(events.select([program]), tokens=tokens[None])
            seen = replace(looked, events=other).states(0)[0]
            found.append(qk_separation(looked.head)(seen).detach())
    expected = torch.cat(found).view(len(events), -1).mean(1)
    torch.testing.assert_close(sides[QUERIES].terms.sum((1, 2)), expected, **EXACT)


def number(rows, **where):
    keys = {"against": "", "half": "all", **where}
    for key, value in keys.items():
        rows = rows[rows[key] == value]
    return rows["mean"].item()


def test_the_planted_pair_is_named_with_its_cause_and_step(planted, untrained, events, tmp_path):
    """At step 1 only the previous token's key is missing, so the key's state brings the match."""
    without = planted.flat.clone()
    planted.decoder.layout.views(without)["layer_0.attn.W_O"][1] = 0
    looked, _ = looked_at(planted, events, untrained.flat, without, planted.flat)
    found = qk_features(looked, range(3), 0, 4)
    report = seen_in(found, tmp_path)
    told = outcome(report, PAIR)
    assert (told.verdict, told.about["pair"]) == ("shown", MATCH)
    assert told.compared == found.pairs.loc[found.pairs["query"] != "", "pair"].nunique()
    assert number(found.rows, pair=MATCH, measure="appears") == 2
    step = found.changes[(found.changes["step"] == 1) & (found.changes["pair"] == MATCH)]
    by = step[step["against"] == ""].set_index("cause")["mean"]
    assert by["key's state"] == pytest.approx(by["together"], rel=1e-3)
    assert by["together"] > 50
    # A write's flag is asked for by every query alike: a large term that does not match.
    flag = {"pair": f"{QUERY_BIAS} × L0H2", "measure": "term", "step": 2}
    assert abs(number(found.pairs, **flag, against="excess")) < 1e-9
    score = {"pair": "score", "measure": "term", "step": 2}
    assert number(found.pairs, **score) == pytest.approx(number(found.rows, **score), rel=1e-12)


def test_an_untrained_model_shows_nothing(planted, events, tmp_path):
    flats = [untrained_twin(planted, seed).flat for seed in (10, 0)]
    looked, _ = looked_at(planted, events, *flats)
    report = seen_in(qk_features(looked, range(2), 0, 3), tmp_path, draw=False)
    assert {one["verdict"] for one in report["findings"]} == {"open"}


@pytest.mark.slow
def test_untrained_models_show_a_pair_no_more_often_than_chance(planted, events, tmp_path):
    shown = []
    for seed in range(20):
        flats = [untrained_twin(planted, one).flat for one in (seed + 100, seed)]
        looked, _ = looked_at(planted, events, *flats)
        report = seen_in(qk_features(looked, range(2), 0, 3), tmp_path, draw=False)
        shown.append(outcome(report, PAIR).verdict != "open")
    assert sum(shown) <= 2


def test_features_match_key_by_key_and_what_they_miss_does_not(planted, untrained, events):
    """A dictionary of the keys, and of the previous token's keys: its error holds the rest."""
    directions = torch.cat([planted.bases[b] for b in ("token_key", "previous_key")], 1).float()
    width, size = directions.shape
    dictionary = Dictionary(
        directions, torch.zeros(size), directions.T.contiguous(), torch.zeros(width),
        "layer_0_post_mlp",
    )  # fmt: skip
    looked, _ = looked_at(planted, events, untrained.flat, planted.flat)
    found = qk_features(replace(looked, dictionary=dictionary), range(2), size, 6)
    last = found.pairs[found.pairs["step"] == 1].query("half == 'all' and measure == 'term'")
    excess = last[last["against"] == "excess"].set_index("pair")["mean"]
    keys = size // 2
    matching = [f"feature {one} × feature {one + keys}" for one in range(keys)]
    apart = last[(last["against"] == "excess") & (last["told"] == "apart")]
    assert set(apart.nlargest(keys, "mean")["pair"]) == set(matching)
    assert excess[matching].sum() == pytest.approx(excess["score"], rel=0.05)
    assert abs(excess["the dictionary's error"]) < 0.05 * excess["score"]
    # That late writes are preferred lies in what the dictionary misses.
    assert number(last, pair=f"{QUERY_BIAS} × {ERROR}") > 3


# -- bad input -------------------------------------------------------------------------------------


def test_what_cannot_be_measured_is_refused(planted, events, monkeypatch):
    looked, _ = looked_at(planted, events, planted.flat, parts="layer_0_post_attn")
    message = "dictionary is of states at layer_0_post_attn.*layer_0_post_mlp or layer_1_attn_input"
    with pytest.raises(MismatchError, match=message):
        looked.states(0)
    alone = replace(looked_at(planted, events, planted.flat)[0], key_ids=range(10, 11))
    with pytest.raises(AnalysisError, match="one key, so there is no other to ask for"):
        alone.states(0)
    said = {"kind": "qk_features", "head": "L1H1", "checkpoints": [1300, "final"]}
    run = SimpleNamespace(at=lambda checkpoints: [1300])
    monkeypatch.setattr("circuit.kinds.qk_features.measure.OpenRun", lambda job: run)
    with pytest.raises(AnalysisError, match="checkpoints 1300, final are all step 1300"):
        measure(SimpleNamespace(settings=Settings.model_validate(said)))


@lru_cache
def configuration():
    file = Path(__file__).resolve().parents[2] / "workflow_config.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def refused(**settings):
    """The error of the project's configuration with this analysis in its quickstart."""
    data = configuration()
    study = copy.deepcopy(data["studies"]["quickstart"])
    study["analyses"]["it"] = {"kind": "qk_features", **settings}
    with pytest.raises(ConfigError) as error:
        Plan(load_settings({**data, "studies": {"quickstart": study}}))
    return str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"head": "L1H1", "dictionary": "features", "runs": ["formation_seed0007"]},
            "analysis 'features' makes features of layer_0_post_attn, which head L1H1 does not "
            "read — where: configuration: studies.quickstart.analyses.it.dictionary — expected: "
            "a dictionary of layer_0_post_mlp or layer_1_attn_input — what to do: name another",
        ),
        (
            {"heads": "head_scan", "dictionary": "features", "runs": ["formation_seed0007"]},
            "makes features of layer_0_post_attn, which head winner does not read",
        ),
        ({"head": "L2H0"}, "head 'L2H0' does not exist in run 'formation_seed0007'"),
        ({}, "head 'winner' is one that a scan chooses, and none is named"),
        ({"head": "L1H1", "dictionary": "featured"}, "analysis 'featured' does not exist"),
        ({"head": "L1H1", "dictionary": "paths"}, "analysis 'paths' is of kind 'path_logits'"),
        (
            {
                "head": "L1H1",
                "dictionary": "features",
                "parts": "neurons",
                "runs": ["formation_seed0007"],
            },
            "parts are asked to be neurons, and features of a dictionary",
        ),
        ({"head": "L1H1", "checkpoints": [0, 150]}, "no checkpoint at step 150"),
        ({"head": "L1H1", "key": "support_valu"}, "support_value"),
    ],
)
def test_what_no_run_has_is_refused_before_anything_runs(settings, message):
    assert message in refused(**settings)


def test_one_checkpoint_is_too_few():
    with pytest.raises(ValidationError, match="at least 2 items"):
        Settings(kind="qk_features", head="L1H1", checkpoints=["final"])
