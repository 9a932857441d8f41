"""Figures of transplanted parts where nothing changed: effects, since there are no shares."""

import xml.etree.ElementTree as ET

import pytest
from figures_of_compare import parts

from circuit.reports import figures_compare


@pytest.mark.parametrize("draw", [figures_compare.activations, figures_compare.weights])
def test_without_a_change_effects_are_drawn_and_the_figure_says_so(draw, tmp_path):
    draw(parts(changed=False), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    ET.fromstring(text)
    assert "The margin did not change" in text
    assert "effect (logit)" in text
    assert "share of the change (%)" not in text
    assert "nan" not in text
