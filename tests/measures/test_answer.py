"""The answer that circuits are told of, and the answers of other programs beside it."""

import pytest
import torch

from circuit.errors import AnalysisError
from circuit.measures.paths.answer import answer_weights


def test_controls_are_the_answers_of_other_programs(planted_events, planted):
    ids = planted.vocabulary.value_ids
    events = planted_events.select(torch.tensor([0, 1, 2, 3, 5, 8]))
    right, others = answer_weights(events, ids).unbind(1)
    answers = (events.answer - ids.start).tolist()
    count = len(ids)
    for i, answer in enumerate(answers):
        by_hand = [-1 / (count - 1)] * count
        by_hand[answer] = 1.0
        assert right[i].tolist() == pytest.approx(by_hand)
        rest = [right[j] for j, other in enumerate(answers) if other != answer]
        assert torch.allclose(others[i], torch.stack(rest).mean(0))


def test_too_few_events_are_refused(planted, planted_events):
    ids = planted.vocabulary.value_ids
    for events in (
        planted_events.select(torch.arange(2)),
        planted_events.select(torch.zeros(5).long()),
    ):
        with pytest.raises(AnalysisError, match=r"too few.*raise probes\.programs_per_split"):
            answer_weights(events, ids)
