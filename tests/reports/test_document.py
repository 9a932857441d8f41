"""Reports: the same content for machines and for people, and nothing without a unit."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from circuit.artifacts import read_json, sha256_bytes, write_json
from circuit.errors import ArtifactError
from circuit.reports.document import (
    Figure,
    Number,
    Report,
    Table,
    read_report,
    report_dict,
    write_report,
)
from circuit.reports.text import table_as_text
from circuit.reports.viewing import view

TABLE = Table(
    "Heads | all",
    pd.DataFrame(
        {
            "head": ["L0H0", "L1H2"],
            "growth": [-0.3, 3.2],
            "share": [0.125, np.nan],
            "step": [100, 1200],
            "won": [False, True],
            "token": ["<bos>", "a|b"],
        }
    ),
    {"growth": "score", "share": "share", "step": "step"},
)
REPORT = Report(
    kind="head_scan",
    name="heads",
    study="quickstart",
    run="formation_seed0007",
    question="Which head looks at the latest write?",
    answer="L1H2, by far.",
    numbers=(
        Number("growth of L1H2", 3.21, "score", 2.9, 3.5, 48, "confirmation half"),
        Number("change of accuracy", 0.12, "share", signed=True),
        Number("birth step", float("nan"), "step"),
    ),
    tables=(TABLE,),
    figures=(Figure("separation.svg", "QK separation of every head"),),
    marks=("The residual of <bos> exceeds its bound.",),
    settings={"rank": 4},
    command="snakemake --force results/quickstart/heads/report.md",
    provenance={"threads": 1, "code": ["circuit/x.py@00"], "settings": {"rank": 4}},
)


def written(folder: Path, report: Report = REPORT) -> tuple[dict, str]:
    folder.mkdir(exist_ok=True)
    for figure in report.figures:
        (folder / figure.file).write_text("<svg/>")
    write_report(folder / "report.json", folder / "report.md", report)
    return read_json(folder / "report.json"), (folder / "report.md").read_text()


def test_json_holds_every_field_and_null_for_what_is_not_defined(tmp_path):
    content, _ = written(tmp_path)
    fields = {field.name for field in dataclasses.fields(Report)}
    assert set(content) == fields | {"schema"}
    assert content["numbers"][0] == {
        "name": "growth of L1H2",
        "value": 3.21,
        "unit": "score",
        "low": 2.9,
        "high": 3.5,
        "count": 48,
        "note": "confirmation half",
        "signed": None,
    }
    assert content["numbers"][2]["value"] is None
    assert content["tables"][0]["rows"] == [
        ["L0H0", -0.3, 0.125, 100, False, "<bos>"],
        ["L1H2", 3.2, None, 1200, True, "a|b"],
    ]
    assert content["figures"] == [
        {
            "file": "separation.svg",
            "caption": "QK separation of every head",
            "place": "",
            "sha256": sha256_bytes(b"<svg/>"),
        }
    ]
    assert content["settings"] == {"rank": 4}


def test_a_report_that_lacks_a_field_is_refused(tmp_path):
    content, _ = written(tmp_path)
    path = tmp_path / "report.json"
    assert read_report(path) == content
    write_json(path, {key: content[key] for key in content if key not in ("answer", "figures")})
    with pytest.raises(ArtifactError, match=r"^file lacks answer, figures — where: .*report\.json"):
        read_report(path)


def test_a_record_of_measuring_that_lacks_a_field_is_refused(tmp_path):
    write_json(tmp_path / "measured.json", {"facts": {}})
    with pytest.raises(ArtifactError, match=r"^file lacks passes, provenance — .*measured\.json"):
        view(None, SimpleNamespace(inputs={"measured": tmp_path / "measured.json"}))


def test_equal_reports_give_equal_bytes(tmp_path):
    written(tmp_path / "a")
    written(tmp_path / "b")
    for name in ("report.json", "report.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_markdown_asks_then_answers_then_marks_then_counts(tmp_path):
    _, text = written(tmp_path)
    assert text.startswith("# Which head looks at the latest write?\n\n**Answer.** L1H2, by far.")
    places = [
        text.index(part)
        for part in (
            "> **Mark.** The residual of &lt;bos> exceeds its bound.",
            "| growth of L1H2 | +3.21 score | +2.90 to +3.50 | 48 | confirmation half |",
            "| change of accuracy | +12.0% | – | – |  |",
            "| birth step | not defined | – | – |  |",
            "![QK separation of every head](separation.svg)",
            "<details><summary>Heads | all</summary>",
            '"rank": 4',
            "snakemake --force results/quickstart/heads/report.md",
            "circuit/x.py@00",
        )
    ]
    assert places == sorted(places)


def test_markdown_table_has_units_in_its_header_and_no_broken_cells(tmp_path):
    _, text = written(tmp_path)
    assert "| head | growth (score) | share | step | won | token |" in text
    assert "| --- | ---: | ---: | ---: | --- | --- |" in text
    assert "| L0H0 | −0.300 | 12.5% | 100 | no | &lt;bos> |" in text
    assert "| L1H2 | +3.20 | – | 1,200 | yes | a\\|b |" in text


def test_columns_of_many_units_leave_them_to_the_column_of_units():
    units = {"mean": "unit of the measure"}
    table = {"title": "", "columns": ["measure", "unit", "mean"], "rows": [], "units": units}
    assert table_as_text(table).header == ["measure", "unit", "mean"]
    table["columns"].remove("unit")
    assert table_as_text(table).header == ["measure", "mean (unit of the measure)"]


def test_tables_may_share_units_and_keep_only_their_own(tmp_path):
    table = dataclasses.replace(TABLE, units={**TABLE.units, "elsewhere": "nat"})
    content, _ = written(tmp_path, dataclasses.replace(REPORT, tables=(table,)))
    assert "elsewhere" not in content["tables"][0]["units"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": "The heads."}, "is no question"),
        ({"answer": " "}, "report has no answer"),
        ({"command": ""}, "report has no command"),
        ({"numbers": (Number("a", 1.0, " "),)}, "number 'a' has no unit"),
        ({"numbers": (Number("a", 1.0, "score", low=0.5),)}, "number 'a' has half an interval"),
        ({"numbers": (Number("a", 1.0, "1"), Number("a", 2.0, "1"))}, "number 'a' occurs twice"),
        (
            {"figures": (Figure("a.svg", "x"), Figure("a.svg", "y"))},
            "figure 'a.svg' occurs twice",
        ),
        (
            {"tables": (dataclasses.replace(TABLE, units={"growth": "", "share": "share"}),)},
            "has numeric columns without a unit: growth, step",
        ),
    ],
)
def test_what_would_mislead_is_refused_and_nothing_is_written(tmp_path, change, message):
    with pytest.raises(ArtifactError, match=message) as caught:
        written(tmp_path, dataclasses.replace(REPORT, **change))
    assert str(tmp_path / "report.json") in str(caught.value)
    assert "what to do:" in str(caught.value)
    assert not list(tmp_path.glob("report*"))


def test_a_report_without_tables_or_provenance_still_reads_well(tmp_path):
    bare = Report("k", "n", "s", None, "Is it?", "It is.", command="make")
    _, text = written(tmp_path, bare)
    assert "over its runs" in text
    assert "## Numbers" not in text
    assert "## Provenance" not in text
    assert report_dict(bare)["run"] is None
    assert read_json(tmp_path / "report.json")["tables"] == []
