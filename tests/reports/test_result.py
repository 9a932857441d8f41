"""What a finished study says in a terminal is the heading of its page."""

import pytest

from circuit.errors import AnalysisError
from circuit.reports.result import result


@pytest.fixture
def page(tmp_path):
    return tmp_path / "report.html"


def test_the_heading_is_told_as_plain_text_on_one_line(page):
    page.write_text('<h1 class="result">L0H3 &lt;looks&gt;\n<b>up</b>.</h1><h1>Other</h1>')
    assert result(page) == "L0H3 <looks> up."


def test_a_page_without_heading_is_refused(page):
    page.write_text("<p>cut</p>")
    with pytest.raises(AnalysisError, match=r"no heading.*report\.html.*headed by its result"):
        result(page)
