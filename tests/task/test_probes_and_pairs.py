import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from benchmark_examples import SMALL, changed

from circuit.config.benchmark import SPLITS, BenchmarkSettings, PairSettings
from circuit.errors import BenchmarkError
from circuit.task.benchmark import build_benchmark
from circuit.task.events import read_events
from circuit.task.frozen import pair_events, probe_events
from circuit.task.pairs import EXPOSED, NO_VALUE, PAIR_KINDS, build_pairs
from circuit.task.probes import build_probe_set
from circuit.task.streams import SLICES


@pytest.fixture(scope="module")
def base_pairs(base):
    return build_pairs(base)


def test_probe_set_has_one_read_of_each_of_its_programs(base):
    probes = build_probe_set(base)
    assert probes["split"].value_counts().to_dict() == dict.fromkeys(SPLITS, 96)
    assert probes["sample_id"].is_unique
    events = probe_events(probes, base.vocabulary)
    assert events.sample_id == tuple(probes["sample_id"])
    for name in ("prediction", "answer", "read_index", *SLICES):
        assert getattr(events, name).tolist() == probes[name].tolist(), name
    for split in SPLITS:
        own = probes[probes["split"] == split]
        programs = base.splits[split].set_index("sample_id").loc[own["sample_id"]]
        assert all(map(np.array_equal, own["tokens"], programs["tokens"]))
        assert (own["read_index"].to_numpy() < programs["reads"].to_numpy()).all()
        assert own["read_index"].nunique() == programs["reads"].max(), "any read may be drawn"


def test_probe_set_depends_on_its_seed_only(small):
    probes = build_probe_set(small)
    pd.testing.assert_frame_equal(build_probe_set(small), probes)
    settings = small.settings.model_copy(
        update={"probes": small.settings.probes.model_copy(update={"seed": 1})}
    )
    other = build_probe_set(dataclasses.replace(small, settings=settings))
    assert list(other["sample_id"]) != list(probes["sample_id"])


def latest(text: list[str]) -> dict[str, str]:
    """The dictionary after the writes of a cut stream."""
    return {text[p + 1]: text[p + 2] for p in range(1, len(text) - 2, 3) if text[p] == "W"}


def test_every_pair_is_what_its_kind_says(base, base_pairs):
    vocabulary = base.vocabulary
    sources = base.splits["test_iid"].set_index("sample_id")["tokens"]
    heldout = {(f"K{key:02d}", f"V{value:03d}") for key, value in base.heldout_pairs}
    assert base_pairs.pairs["kind"].value_counts().to_dict() == dict.fromkeys(PAIR_KINDS, 96)
    for pair in base_pairs.pairs.to_dict("records"):
        clean = vocabulary.text(pair["clean_tokens"]).split()
        corrupted = vocabulary.text(pair["corrupted_tokens"]).split()
        whole = vocabulary.text(sources[pair["sample_id"]]).split()
        answers = [vocabulary.tokens[pair[f"{side}_answer"]] for side in ("clean", "corrupted")]

        assert pair["split"] == "test_iid"
        assert len(clean) == len(corrupted) == pair["prediction"] + 1
        assert whole[: len(clean)] == clean
        assert whole[len(clean)] == answers[0] == latest(clean)[clean[-1]]
        assert answers[1] == latest(corrupted)[corrupted[-1]]
        assert clean[-2] == corrupted[-2] == "R"
        assert clean[1:-2].count("R") == corrupted[1:-2].count("R") == pair["read_index"]
        changed_at = [p for p, (a, b) in enumerate(zip(clean, corrupted, strict=True)) if a != b]
        assert changed_at == list(pair["changed_positions"])

        # Both members are programs: values differ, earlier answers are right, pairs are allowed.
        for tokens in (clean, corrupted):
            writes = [p for p in range(1, len(tokens) - 2, 3) if tokens[p] == "W"]
            assert len({tokens[p + 2] for p in writes}) == len(writes)
            assert not {(tokens[p + 1], tokens[p + 2]) for p in writes} & heldout
            for p in range(1, len(tokens) - 2, 3):
                if tokens[p] == "R":
                    assert tokens[p + 2] == latest([*tokens[:p], "R", ""])[tokens[p + 1]]

        own = [p + 2 for p in range(1, len(clean) - 2, 3) if clean[p : p + 2] == ["W", clean[-1]]]
        changes = [(clean[p], corrupted[p]) for p in changed_at]
        match pair["kind"]:
            case "support_value":
                assert changed_at == [own[-1]]
                assert changes == [tuple(answers)]
                assert corrupted[own[-1]] not in whole
            case "query_key":
                assert changed_at == [len(clean) - 1]
                assert answers[0] != answers[1]
            case "recency":
                assert changed_at == own[-2:]
                assert changes == [(answers[1], answers[0]), (answers[0], answers[1])]
            case "distractor":
                assert len(changed_at) == 1
                assert clean[changed_at[0] - 2] == "W"
                assert clean[changed_at[0] - 1] != clean[-1]
                assert changes[0][1] not in whole
                assert answers[0] == answers[1]


def test_a_program_gives_at_most_one_pair_of_a_kind(base_pairs):
    assert not base_pairs.pairs.duplicated(["kind", "sample_id"]).any()


def test_skipped_reads_are_counted_with_their_reason(base_pairs):
    counts = base_pairs.skipped.set_index(["kind", "reason"])["count"]
    assert len(counts) == 8
    assert counts["support_value", EXPOSED] > 0
    assert counts["recency", EXPOSED] > counts["support_value", EXPOSED]
    assert counts["query_key"].sum() == counts["distractor"].sum() == 0
    assert counts.xs(NO_VALUE, level="reason").sum() == 0


def test_skips_are_those_of_exposed_writes():
    """With every read wanted, built and skipped pairs can be counted from the streams."""
    settings = BenchmarkSettings.model_validate(changed(SMALL, {"pairs.pairs_per_kind": 10_000}))
    benchmark = build_benchmark(settings)
    pairs = build_pairs(benchmark)
    events = read_events(benchmark.splits["test_iid"], benchmark.vocabulary)
    ids = torch.where(events.prior_answers, events.tokens, -1)
    hidden = ~(ids == events.answer[:, None]).any(1)
    able = {sample for sample, ok in zip(events.sample_id, hidden.tolist(), strict=True) if ok}
    built = pairs.pairs[pairs.pairs["kind"] == "support_value"]
    assert set(built["sample_id"]) == able
    counts = pairs.skipped.set_index(["kind", "reason"])["count"]
    assert 0 < counts["support_value", EXPOSED] <= int((~hidden).sum())


def test_pair_events_have_the_roles_of_their_side(base, base_pairs):
    pairs, vocabulary = base_pairs.pairs, base.vocabulary
    clean = pair_events(pairs, vocabulary, "clean")
    corrupted = pair_events(pairs, vocabulary, "corrupted")
    assert clean.tokens.shape == corrupted.tokens.shape
    assert torch.equal(clean.prediction, corrupted.prediction)
    assert clean.prediction.tolist() == pairs["prediction"].tolist()
    assert clean.read_index.tolist() == pairs["read_index"].tolist()
    rows = torch.arange(len(pairs))
    for events, side in ((clean, "clean"), (corrupted, "corrupted")):
        assert events.answer.tolist() == pairs[f"{side}_answer"].tolist()
        assert torch.equal(events.tokens[rows, events.support_value], events.answer)
    same_support = clean.support_value == corrupted.support_value
    assert torch.equal(same_support, torch.tensor((pairs["kind"] != "query_key").to_numpy()))
    differing = (clean.tokens != corrupted.tokens).sum(1)
    assert differing.tolist() == [2 if kind == "recency" else 1 for kind in pairs["kind"]]


def test_pairs_are_the_same_every_time_and_follow_their_seed(small):
    first = build_pairs(small)
    pd.testing.assert_frame_equal(build_pairs(small).pairs, first.pairs)
    other = build_pairs(with_pairs(small, seed=1))
    assert list(other.pairs["sample_id"]) != list(first.pairs["sample_id"])


def with_pairs(benchmark, **changes):
    settings = benchmark.settings
    pairs = PairSettings(**{**settings.pairs.model_dump(), **changes})
    return dataclasses.replace(benchmark, settings=settings.model_copy(update={"pairs": pairs}))


def test_pairs_of_the_heldout_split_use_heldout_pairs(small):
    pairs = build_pairs(with_pairs(small, split="heldout_pairs")).pairs
    heldout = set(small.heldout_pairs)
    events = pair_events(pairs, small.vocabulary, "corrupted")
    for tokens, positions in zip(events.tokens.tolist(), pairs["changed_positions"], strict=True):
        for p in positions:
            if tokens[p] in small.vocabulary.value_ids:
                key = tokens[p - 1] - small.vocabulary.key_ids.start
                assert (key, tokens[p] - small.vocabulary.value_ids.start) in heldout


def test_a_split_without_reads_is_refused(small):
    nothing = small.splits["test_iid"].iloc[:0]
    bad = dataclasses.replace(small, splits={**small.splits, "test_iid": nothing})
    with pytest.raises(BenchmarkError) as caught:
        build_pairs(bad)
    assert str(caught.value) == (
        "no pair of kind support_value can be built from split test_iid — where: pairs.split"
        " — expected: a split with a read that allows it; skipped were 0 (exposed_by_earlier_read),"
        " 0 (no_unused_value)"
        " — what to do: choose another pairs.split, or raise its samples or n_values"
    )


def test_reads_without_an_unused_value_are_skipped_and_the_kind_refused():
    """Four held-out values per key, and programs that use all four of each of their keys."""
    raw = changed(
        SMALL,
        {
            "heldout_pair_fraction": 0.125,
            "in_distribution.active_keys": 2,
            "in_distribution.query_lag": 1,
            "pairs.split": "heldout_pairs",
        },
    )
    benchmark = build_benchmark(BenchmarkSettings.model_validate(raw))
    with pytest.raises(BenchmarkError, match="no pair of kind support_value can be built") as e:
        build_pairs(benchmark)
    skipped = int(benchmark.splits["heldout_pairs"]["reads"].sum())
    assert f"0 (exposed_by_earlier_read), {skipped} (no_unused_value)" in str(e.value)
