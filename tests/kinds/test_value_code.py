"""The value code: found where it was planted and at its rank, and nothing of it in a twin."""

import numpy as np
import pytest
import torch
from viewing import changed, outcome, viewed

from circuit.errors import AnalysisError
from circuit.measures.states import value_code as made
from circuit.measures.states.value_code import BETWEEN, CENTROID, KEY, LENS, PERMUTED, Code
from circuit.measuring import Table
from circuit.task.events import read_events

SITES = ("layer_0_post_attn", "layer_1_post_attn", "layer_1_post_mlp")
AT = [(site, role) for site in SITES for role in ("prediction", "support_value")]
EDITED = [("layer_1_post_attn", "prediction"), ("layer_1_post_attn", "support_value")]
RANKS = (8, 14, 15, 16)


@pytest.fixture(scope="module")
def reads(planted, planted_benchmark):
    programs = planted_benchmark.splits["train"].head(224)
    return made.code_reads(programs, planted.vocabulary, 0)


@pytest.fixture(scope="module")
def found(planted, untrained, reads):
    """Rows and ranks of the twin (step 0) and of the planted network (step 1)."""
    states = (untrained.flat, planted.flat)
    return made.value_code(
        planted.decoder, states.__getitem__, (0, 1), reads, planted.vocabulary.value_ids,
        AT, EDITED, (1,), RANKS, 20, 0,
    )  # fmt: skip


def number(rows, against="", **keys):
    """The one row of these keys."""
    chosen = rows[rows["against"] == against]
    for key, value in keys.items():
        chosen = chosen[chosen[key] == value]
    [row] = chosen.to_dict("records")
    return row


def test_the_planted_code_is_read_where_it_was_written_and_not_before(found):
    rows = found[0][found[0]["step"] == 1]
    at = {"role": "prediction", "label": "answer"}
    for measure in (CENTROID, LENS):
        before, after = (number(rows, measure=measure, site=site, **at) for site in SITES[:2])
        assert before["mean"] < 0.2
        assert after["mean"] > 0.98
        assert after["low"] > number(rows, PERMUTED, measure=measure, site=SITES[1], **at)["high"]
        assert number(rows, made.OVER_WRITE, measure=measure, site=SITES[1], **at)["low"] > 0.9
    key = {"role": "support_value", "label": KEY, "measure": CENTROID, "site": SITES[0]}
    assert number(rows, **key)["mean"] == 1  # the previous-token head wrote it
    when = {"measure": made.READABLE, **at}
    assert number(found[0], site=SITES[1], **when)["mean"] == 1
    assert np.isnan(number(found[0], site=SITES[0], **when)["mean"])


def test_what_is_so_by_construction_says_so(found):
    rows, ranks = found
    built = rows.groupby(["site", "role", "label"])["by_construction"].first()
    for site in SITES:
        assert (
            built[site, "support_value", "answer"] == built[site, "prediction", KEY] == "the token"
        )
        assert built[site, "support_value", KEY] == ""
    assert built["layer_1_post_mlp", "prediction", "answer"] == "the readout"
    assert built["layer_1_post_attn", "prediction", "answer"] == ""
    assert list(ranks.groupby("role", sort=False)["by_construction"].first()) == ["the readout", ""]


def test_the_code_is_found_at_its_planted_rank(found, planted):
    planted_rank, ranks = planted.bases["token_value"].shape[1], found[1]
    at = {"site": SITES[1], "role": "prediction"}
    for edit in ("remove", "keep"):
        share = {"measure": "readout_share", "edit": edit, **at}
        assert number(ranks, rank=planted_rank, **share)["mean"] == pytest.approx(1, abs=0.03)
        assert 0.4 < number(ranks, rank=planted_rank // 2, **share)["mean"] < 0.6
        excess = number(ranks, f"excess over {PERMUTED}", rank=planted_rank, **share)
        assert excess["low"] > 0.3
        most = number(ranks, measure=made.RANK, edit=edit, level="90%", **at)
        assert planted_rank - 2 <= most["mean"] < planted_rank
    full = number(ranks, measure=made.RANK, edit="keep", level="99%", **at)
    assert (full["mean"], full["high"]) == (planted_rank, planted_rank)
    nothing = ranks[(ranks["role"] == "support_value")]  # behind the last layer that reads it
    assert len(nothing)
    assert nothing["mean"].isna().all()


def test_an_untrained_twin_tells_no_answer(found):
    rows = found[0][(found[0]["step"] == 0) & (found[0]["by_construction"] == "")]
    rows = rows[(rows["role"] == "prediction") & (rows["measure"] != made.READABLE)]
    assert len(rows[rows["against"] == made.OVER_WRITE]) == 2 * len(made.UNITS)
    for measure in (CENTROID, BETWEEN, LENS):
        told = rows[rows["measure"] == measure]
        assert not (told.loc[told["against"] == made.OVER_WRITE, "low"] > 0).any()


def seen(rows, ranks, folder):
    tables = {"rows": Table(rows, "one number"), "ranks": Table(ranks, "one", {"rank": "1"})}
    facts = {"last_stage": "layer_1_post_mlp"}
    return viewed("value_code", tables, folder, {"ranks": list(RANKS)}, facts)


def test_where_and_when_the_planted_answer_is_readable_is_told(found, tmp_path):
    report = seen(*found, tmp_path)
    clearest = outcome(report, "stage where the answer is clearest")
    assert (clearest.verdict, clearest.about["site"]) == ("shown", "layer_1_post_attn")
    assert clearest.control == "permuted labels; another write"
    assert outcome(report, "answer stays readable", site=SITES[1]).verdict == "shown"
    assert outcome(report, "answer stays readable", site=SITES[0]).verdict == "open"
    assert outcome(report, "stage where a value knows its key best").verdict == "shown"
    # Behind the last attention removal does harm by construction: no finding.
    assert not [one for one in report["findings"] if one["name"].startswith("code that")]
    again = seen(found[0], changed(found[1], {}, by_construction=""), tmp_path)
    code = outcome(again, "code that the readout rests on", edit="remove", role="prediction")
    assert (code.verdict, code.control) == ("shown", "permuted labels")


def test_of_a_twin_nothing_is_told(found, tmp_path):
    twin = found[0][(found[0]["step"] == 0) | (found[0]["measure"] == made.READABLE)]
    rows = changed(twin, {"measure": made.READABLE}, step=0, mean=np.nan)
    report = seen(rows, found[1], tmp_path)
    assert {one["verdict"] for one in report["findings"]} == {"open"}


def test_one_is_left_out_as_when_centroids_are_made_without_it():
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 4, (2, 30), generator=generator)
    labels[0, 0] = 4  # alone in its class, so never named
    hits, share, values = made.leave_one_out(states, labels)
    for b, label in enumerate(labels):
        for i in range(30):
            rest = torch.arange(30) != i
            means = {k: states[rest & (label == k)].mean(0) for k in label[rest].unique().tolist()}
            nearest = min(means, key=lambda k: float((states[i] - means[k]).square().sum()))
            assert hits[b, i] == (nearest == int(label[i]))
        about = states - states.mean(0)
        between = sum(
            (label == k).sum() * about[label == k].mean(0).square().sum() for k in label.unique()
        )
        assert share[b] == pytest.approx(float(between / about.square().sum()))
    assert float(values.mean()) == pytest.approx(float(share[0]))


def test_a_code_is_what_centroids_differ_in_and_not_what_varies_most():
    generator = torch.Generator().manual_seed(2)
    label = torch.arange(320) % 32
    centres = torch.zeros(32, 12, dtype=torch.float64)
    centres[:, :2] = torch.randn(32, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(320, 12, generator=generator, dtype=torch.float64)
    noise[:, :2], noise[:, 2:7] = 0.1 * noise[:, :2], 3.5 * noise[:, 2:7]
    states = centres[label] + noise
    code = Code.of(states, label, 2)
    assert float(code.basis[:2].square().sum()) > 1.8  # of 2
    means = torch.stack([states[label == k].mean(0) for k in range(32)]) - states.mean(0)
    raw = torch.linalg.svd(means).Vh[:2].T  # what differs most by its size alone
    assert float(raw[:2].square().sum()) < 0.8
    inside = code.states(code(states))
    assert code(states - inside + code.mean).abs().max() < 1e-12


def test_another_write_is_to_another_key_and_halves_share_no_program(reads, planted):
    events, other = reads
    for tokens, at, key, answer in zip(
        events.tokens, other, events.query_key_id, events.answer, strict=True
    ):
        assert tokens[at - 1] != key
        assert tokens[at] != answer
    seen = made.seen_stages(planted.decoder, planted.flat, reads, planted.vocabulary.value_ids)
    fit, test = (made.of_half(seen, half) for half in (0, 1))
    assert not set(fit.events.sample_id) & set(test.events.sample_id)
    assert len(set(events.sample_id)) == len(fit.events) + len(test.events) == len(events)
    for half in (fit, test):
        tokens = planted.views["embedding.token"][half.events.tokens]
        assert (half.sites["embedding"] - tokens)[:, :, None].std(0).max() < 1e-12


def test_too_few_programs_are_refused(planted, planted_benchmark):
    few = planted_benchmark.splits["train"].head(4)
    with pytest.raises(AnalysisError) as error:
        made.code_reads(few, planted.vocabulary, 0)
    events = read_events(few, planted.vocabulary, "last")
    others = events.value_distractors & (events.tokens.roll(1, 1) != events.query_key_id[:, None])
    assert str(error.value) == (
        f"{int(others.any(1).sum())} of 4 programs write another key before their last read — "
        "where: programs of a value code — expected: at least 16, half of which fit the code — "
        "what to do: take more programs, or a split with more active keys"
    )
