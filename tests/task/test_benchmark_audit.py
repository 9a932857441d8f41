"""The audit passes on what the generator makes and fails on every way of tampering with it."""

import dataclasses

import numpy as np
import pytest

from circuit.config.benchmark import SPLITS, ProgramSettings
from circuit.errors import BenchmarkError
from circuit.task.audit import audit, broken_rule
from circuit.task.audit_report import audit_json, audit_markdown
from circuit.task.pairs import build_pairs
from circuit.task.programs import decode
from circuit.task.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def report(base):
    return audit(base)


@pytest.mark.parametrize("split", SPLITS)
def test_shortcuts_fail_on_the_reference_benchmark(report, split):
    assert report.value("first_value_for_key", split) == 0.0
    assert report.value("last_value_before_query", split) == 0.0
    assert 0.05 < report.value("most_frequent_value_before_query", split) < 0.16


def test_the_second_last_written_value_is_a_known_shortcut_in_distribution(report):
    """With two active keys and a query lag of 1 it is always right; the report must not hide it."""
    assert 0.79 < report.value("second_last_written_value", "train") < 0.85
    assert report.value("second_last_written_value", "structural_ood") == 0.0
    rows = report.checks[report.checks["check"] == "second_last_written_value"]
    assert rows["bound"].isna().all()


def test_shortcut_accuracies_agree_with_a_loop(small):
    report = audit(small)
    for split in ("train", "structural_ood"):
        hits: dict[str, list[float]] = {}
        for ids in small.splits[split]["tokens"]:
            program = decode(ids, small.vocabulary)
            for number, read in enumerate(program):
                if read.op == "W":
                    continue
                before = program[:number]
                writes = [event for event in before if event.op == "W"]
                seen = [event.value for event in before]
                most = max(map(seen.count, seen))
                guesses = {
                    "first_value_for_key": {next(e.value for e in writes if e.key == read.key)},
                    "last_value_before_query": {seen[-1]},
                    "most_frequent_value_before_query": {v for v in seen if seen.count(v) == most},
                    "second_last_written_value": {writes[-2].value},
                }
                for name, guess in guesses.items():
                    hits.setdefault(name, []).append((read.value in guess) / len(guess))
        for name, each in hits.items():
            assert report.value(name, split) == pytest.approx(np.mean(each), abs=1e-12)


def test_report_counts_what_it_checked(report, base):
    checks = report.checks
    assert report.value("exact_sequence_overlap") == report.value("latent_program_overlap") == 0
    reads = checks[checks["check"] == "oracle_disagreement"].set_index("split")["items"]
    assert reads.to_dict() == {split: base.splits[split]["reads"].sum() for split in SPLITS}
    with pytest.raises(KeyError):
        report.value("first_value_for_key", "all")


def test_report_reads_well(base, report):
    pairs = build_pairs(base)
    text = audit_markdown(base, report, pairs)
    assert text.startswith("# Benchmark audit\n\n**Passed.** All 13,120 programs are different")
    assert "| structural_ood | 1,024 | 9,228 | 77,243 | 83 tokens |" in text
    assert "| `oracle_disagreement` | answers unlike those of a dictionary | 0 | 87,820 |" in text
    plain = audit_json(report, pairs)
    assert plain["passed"] is True
    assert plain["pairs"]["recency"]["built"] == 96
    assert {check["bound"] for check in plain["checks"]} == {0.0, 0.4, None}


def tampered(benchmark, split, row, **columns):
    """Return the benchmark with values of one row replaced; streams may be given as text."""
    frame = benchmark.splits[split].copy()
    for name, value in columns.items():
        if isinstance(value, str) and name == "tokens":
            frame.at[row, name] = np.array(benchmark.vocabulary.ids(value), dtype=np.int32)
        else:
            frame.at[row, name] = value
    return dataclasses.replace(benchmark, splits={**benchmark.splits, split: frame})


def text_of(benchmark, split, row):
    return benchmark.vocabulary.text(benchmark.splits[split]["tokens"].iloc[row])


def refusal(benchmark) -> str:
    with pytest.raises(BenchmarkError) as caught:
        audit(benchmark)
    return str(caught.value)


def test_a_repeated_stream_is_found(small):
    train = small.splits["train"]
    bad = tampered(small, "test_iid", 9, tokens=train["tokens"][4], answers=train["answers"][4])
    assert refusal(bad) == (
        "audit check exact_sequence_overlap is violated: the same as train-00004"
        " — where: sample test_iid-00009 — expected: 0 repeated programs"
        " — what to do: regenerate the benchmark; if it stays, its settings or the generator are at"
        " fault"
    )


def test_a_program_with_renamed_keys_is_found(small):
    text = text_of(small, "train", 4)
    names = sorted({token for token in text.split() if token.startswith("K")})
    other = next(f"K{key:02d}" for key in range(4) if f"K{key:02d}" not in names)
    bad = tampered(
        small,
        "validation_iid",
        2,
        tokens=text.replace(names[0], other),
        answers=small.splits["train"]["answers"][4],
    )
    message = refusal(bad)
    assert message.startswith(
        "audit check latent_program_overlap is violated: the same as train-00004"
        " — where: sample validation_iid-00002"
    )


def swap_value(benchmark, split, row, inside: bool):
    """Give the first write, which no read asks for, a value whose pair is held out or not."""
    program = decode(benchmark.splits[split]["tokens"][row], benchmark.vocabulary)
    first, used = program[0], {event.value for event in program}
    new = next(
        value
        for value in range(benchmark.vocabulary.n_values)
        if ((first.key, value) in set(benchmark.heldout_pairs)) == inside and value not in used
    )
    text = text_of(benchmark, split, row)
    return tampered(
        benchmark, split, row, tokens=text.replace(f"V{first.value:03d}", f"V{new:03d}")
    )


@pytest.mark.parametrize("split", ["train", "structural_ood"])
def test_a_heldout_pair_elsewhere_is_found(small, split):
    message = refusal(swap_value(small, split, 3, inside=True))
    assert message.startswith("audit check heldout_pairs_outside_split is violated: W of key")
    assert f"where: sample {split}-00003 — expected: no held-out pair" in message


def test_another_pair_in_the_heldout_split_is_found(small):
    message = refusal(swap_value(small, "heldout_pairs", 5, inside=False))
    assert message.startswith("audit check writes_of_other_pairs is violated: W of key")
    assert "where: sample heldout_pairs-00005 — expected: held-out pairs only" in message


def test_a_wrong_stored_answer_is_found(small):
    answers = small.splits["test_iid"]["answers"][1].copy()
    answers[0] += 1
    message = refusal(tampered(small, "test_iid", 1, answers=answers))
    assert message.startswith("audit check oracle_disagreement is violated: answers are [")
    assert "where: sample test_iid-00001 — expected: the latest written values [" in message


def test_a_wrong_answer_in_the_stream_is_found(small):
    split = small.splits["test_iid"]
    tokens, answers = split["tokens"][1].copy(), split["answers"][1].copy()
    program = decode(tokens, small.vocabulary)
    read = next(number for number, event in enumerate(program) if event.op == "R")
    stale = next(event.value for event in program if event.key == program[read].key)
    tokens[3 + 3 * read] = answers[0] = small.vocabulary.value_id(stale)
    message = refusal(tampered(small, "test_iid", 1, tokens=tokens, answers=answers))
    assert message.startswith("audit check oracle_disagreement is violated")


def test_a_damaged_stream_is_found(small):
    tokens = small.splits["train"]["tokens"][7][:-1]
    assert refusal(tampered(small, "train", 7, tokens=tokens)).startswith(
        "tokens are not a whole stream — where: sample train-00007"
    )


def test_a_counterfactual_of_another_source_is_found(small):
    frame = small.splits["counterfactual"]
    message = refusal(tampered(small, "counterfactual", 2, source_id=frame["source_id"][3]))
    assert message.startswith(
        "audit check counterfactual_sources is violated: it differs from test_iid-00003 elsewhere"
        " — where: sample counterfactual-00002 — expected: a new write"
    )
    message = refusal(tampered(small, "counterfactual", 2, source_id="train-00000"))
    assert "source 'train-00000' is missing" in message
    message = refusal(tampered(small, "counterfactual", 2, changed_write=99))
    assert "it differs from test_iid-00002 elsewhere" in message


def test_a_counterfactual_that_changes_no_answer_is_found(small):
    source = decode(small.splits["test_iid"]["tokens"][2], small.vocabulary)
    used = {event.value for event in source}
    heldout = set(small.heldout_pairs)
    new = next(v for v in range(32) if v not in used and (source[0].key, v) not in heldout)
    bad = tampered(
        small,
        "counterfactual",
        2,
        changed_write=0,
        tokens=text_of(small, "test_iid", 2).replace(f"V{source[0].value:03d}", f"V{new:03d}"),
        answers=small.splits["test_iid"]["answers"][2],
    )
    message = refusal(bad)
    assert message.startswith("audit check counterfactual_sources is violated: no answer changed")


def test_a_ceiling_that_is_reached_is_refused(small):
    settings = small.settings.model_copy(update={"frequency_ceiling": 0.01})
    message = refusal(dataclasses.replace(small, settings=settings))
    assert message.startswith(
        "audit check most_frequent_value_before_query is violated: accuracy 0.1"
    )
    assert "expected: below frequency_ceiling = 0.01" in message


RULES = ProgramSettings.model_validate(
    {"active_keys": 2, "overwrites": [2, 4], "reads": [1, 2], "query_lag": [1, 2]}
)
THREE = RULES.model_copy(update={"active_keys": RULES.active_keys._replace(hi=3)})
A, B, OVER_A, OVER_B = "W K00 V000", "W K01 V001", "W K00 V002", "W K01 V003"


@pytest.mark.parametrize(
    ("rules", "events", "broken"),
    [
        (RULES, [A, B, OVER_A, OVER_B, "R K00 V002"], None),
        (RULES, [A, B, OVER_A, OVER_B], "0 reads, not 1..2"),
        (RULES, [A, B, OVER_A, "R K00 V002"], "1 overwrites, not 2..4"),
        (
            RULES,
            [A, B, "W K02 V009", OVER_A, OVER_B, "R K00 V002"],
            "3 active keys, not 2",
        ),
        (RULES, [A, B, OVER_A, "W K01 V000", "R K00 V002"], "a value is written twice"),
        (
            RULES,
            [A, OVER_A, B, OVER_B, "R K00 V002"],
            "event 1 writes the key that was just written",
        ),
        (
            THREE,
            [A, B, OVER_A, "W K02 V009", OVER_B, "R K00 V002"],
            "event 2 overwrites a key that is not least overwritten",
        ),
        (
            RULES,
            [A, B, OVER_A, "R K01 V001", OVER_B],
            "event 3 reads a key before its first overwrite",
        ),
        (
            RULES,
            [A, B, OVER_A, "R K00 V002", OVER_B],
            "event 3 reads at query lag 0, not 1..2",
        ),
        (
            RULES,
            [A, B, OVER_A, OVER_B, "R K00 V002", "R K00 V002"],
            "event 5 repeats a read of its slot",
        ),
    ],
)
def test_broken_rules_are_named(rules, events, broken):
    vocabulary = Vocabulary(3, 10)
    program = decode(vocabulary.ids(f"<bos> {' '.join(events)} <eos>"), vocabulary)
    assert broken_rule(program, rules) == broken


def test_a_program_of_another_splits_rules_is_found(small):
    """A structural_ood program among the training programs."""
    other = small.splits["structural_ood"]
    four = int((other["active_keys"] == 4).to_numpy().argmax())
    spare = small.splits["train"].iloc[0]
    bad = tampered(
        tampered(small, "structural_ood", four, tokens=spare["tokens"], answers=spare["answers"]),
        "train",
        0,
        tokens=other["tokens"][four],
        answers=other["answers"][four],
    )
    message = refusal(bad)
    assert message.startswith("audit check program_rules is violated: 4 active keys, not 2..3")
    assert "where: sample train-00000" in message
