"""The page of a study: complete, self-contained, and safe to open anywhere."""

import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from page_reader import Reader, require_self_contained

from circuit.artifacts import read_json, sha256_file
from circuit.config.registry import VIEWS
from circuit.errors import AnalysisError, ArtifactError
from circuit.reports.document import Figure, Number, Report, Table, write_report
from circuit.reports.inline import inline_svg, rules
from circuit.reports.origins import origins
from circuit.reports.page import KEYS, NUMBERS_SHOWN, write_page
from circuit.reports.sections import EXPLAINED, FORETOLD, MECHANISM
from circuit.reports.style import picture
from circuit.reports.text import numbers_as_text

STUDY, FOCUS, OTHER = "quickstart", "formation_seed0007", "formation_seed0011"
TITLE = "A latest-write lookup circuit forms"


AUDIT = {
    "passed": True,
    "checks": [
        {
            "check": check,
            "split": split,
            "value": value,
            "bound": bound,
            "items": 2315,
            "unit": "1",
        }
        for check, bound, values in (
            ("exact_sequence_overlap", 0.0, {"all": 0.0}),
            ("oracle_disagreement", 0.0, {"train": 0.0, "validation_iid": 0.0}),
            ("first_value_for_key", 0.0, {"train": 0.0, "validation_iid": 0.0}),
            ("most_frequent_value_before_query", 0.4, {"train": 0.058, "structural_ood": 0.147}),
            ("second_last_written_value", None, {"train": 0.811, "structural_ood": 0.0}),
        )
        for split, value in values.items()
    ],
    "pairs": {"recency": {"built": 96, "exposed": 74}, "query_key": {"built": 96, "exposed": 0}},
}


def provenance(seed: int, digest: str = "5b" * 32) -> dict[str, Any]:
    return {
        "inputs": {
            "manifest": {"path": "results/quickstart/train/manifest.json", "sha256": digest},
            "splits": [{"path": "data/quickstart_kv/validation_iid.parquet", "sha256": "a0" * 32}],
        },
        "settings": {},
        "settings_sha256": "ff" * 32,
        "code": ["circuit/scalars/routing.py@0123456789abcdef", "circuit/statistics.py@fedcba98"],
        "versions": {"python": "3.11.9", "torch": "2.8.0", "numpy": "2.4.6"},
        "device": "cpu",
        "platform": {"system": "Linux", "machine": "x86_64", "cpu": "A processor"},
        "threads": 1,
        "seeds": {"run": seed},
    }


ACCURACY = Number("accuracy on validation_iid, at step 1,500", 0.974, "share", 0.967, 0.981, 1204)
CONTROL = "growth of QK separation of the winner L1H2, control: L1H1 bottom"
BOTTOM = Number(CONTROL, -0.03, "score")
GROWTH = Number("growth of QK separation of the winner L1H2", 7.16, "score", 6.81, 7.5, 207)
SWEEP = ("checkpoint_sweep", "What behaviour is there, and when does it appear?")
SHARES = {"current_gradient": 0.31, "momentum": 0.74, "weight_decay": -0.05, "rounding": 1e-6}
SHARES |= {"residual": 1e-3, "raw_sgd": 0.1, "clipped_sgd": 0.08}
SEVERAL = tuple(
    Number(f"{scalar}: {component}", share * total, unit, note="trapezoid; summand")
    for scalar, total, unit in (("route", 7.16, "score"), ("margin", 10.4, "logit"))
    for component, share in SHARES.items()
)


PLACES = {"learning_curve": "first", "residual": "strip"}


def found(number: Number, verdict: str = "shown", **more: Any) -> dict[str, Any]:
    """What a report keeps of a finding."""
    record = {
        "name": number.name,
        "verdict": verdict,
        "about": {},
        "control": "none",
        "compared": 1,
    }
    return {**record, "number": number.name, "said": True, "key": "", "clause": "", **more}


class Filed(NamedTuple):
    """A report and the folder it lies in."""

    folder: str
    report: dict[str, Any]


def report(root, asked, answer, figures, numbers, run=FOCUS, **more) -> Filed:
    """A report with its figures, written below ``root``."""
    kind, question = asked
    folder = root / "results" / STUDY / (run or "") / kind
    folder.mkdir(parents=True)
    for figure in figures:
        shutil.copy(root / "any.svg", folder / f"{figure}.svg")
    table = pd.DataFrame({"head": ["L1H2", "L1H0"], "growth": [7.16, 3.2], "step": [1500, 1500]})
    written = Report(
        kind=kind,
        name=kind,
        study=STUDY,
        run=run,
        section=VIEWS[kind].SECTION,
        question=question,
        answer=answer,
        numbers=numbers,
        tables=(Table("Growth by head <all>", table, {"growth": "score", "step": "step"}),),
        figures=tuple(
            Figure(f"{name}.svg", f"Caption of {name}: a & b.", PLACES.get(name, ""))
            for name in figures
        ),
        settings={"rank": 4, "split": "validation_iid"},
        command=f"snakemake --force {folder}/report.md",
        provenance=provenance(11 if run == OTHER else 7),
        **more,
    )
    write_report(folder / "report.json", folder / "report.md", written)
    return Filed(str(folder), read_json(folder / "report.json"))


def build_study(root: Path) -> list[Filed]:
    with picture(root / "any.svg", "Accuracy over training", "n = 1,204 reads") as body:
        body.add_subplot().plot([0, 1500], [0.0, 0.97])
    birth = Number("birth step", 700, "step", note="accuracy stays at 50% or above")
    route = Number("R² of answer_margin, routes, pooled", 0.86, "1", 0.81, 0.9, 96)
    best = Number("held-out accuracy", 0.912, "share", 0.9, 0.923, 2308)
    first = (
        "Answer accuracy on validation_iid stays at or above 50% from step 700; it is 3.1% "
        "untrained and 97.4% at step 1,500. The best checkpoint is step 1,400."
    )
    later = "Answer accuracy on validation_iid stays at or above 50% from step 800."
    scan = ("head_scan", "Which attention head learned to look up the right value?")
    built = ("update_attribution", "Which part of which update built the route?")
    closed = ("closure", "How much of behaviour's change does the route explain?")
    repeated = ("cross_seed", "Does it repeat over seeds?")
    chosen = ("reference_model", "Which checkpoint is the reference model?")
    rough = ("3 seeds: the interval over seeds is rough.",)
    # fmt: off
    return [
        report(
            root, SWEEP, first, ("learning_curve", "slices"), (ACCURACY, birth),
            findings=(found(ACCURACY, key="accuracy", clause="the model answers 97.40%"),),
        ),
        report(
            root, scan, "L1H2, by +7.16 score.", ("separation", "head_map"), (GROWTH, BOTTOM),
            findings=(
                found(GROWTH, key="growth of its separation", clause="L1H2 looks up the value"),
                found(BOTTOM, said=False),
            ),
        ),
        report(root, built, "L1H2 grew by +7.16 score.", ("growth", "residual"), SEVERAL),
        report(
            root, ("path_logits", "Along which paths?"), "Along one.", (), (birth,),
            findings=(found(birth),),
        ),
        report(root, closed, "86% of it (control head 31%).", ("closure",), (route,)),
        report(root, repeated, "In 3 of 3 runs.", ("seeds",), (GROWTH,), None, marks=rough),
        report(root, chosen, "That of formation_seed0011.", (), (best,), None),
        report(root, SWEEP, later, ("learning_curve",), (ACCURACY,), OTHER),
    ]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Path, list[Filed]]:
    root = tmp_path_factory.mktemp("study")
    return root, build_study(root)


def write_study(path: Path, reports: list[Filed]) -> None:
    audit = ("data/quickstart_kv", AUDIT)
    write_page(path, STUDY, TITLE, reports, focus=FOCUS, audit=audit)


@pytest.fixture(scope="module")
def html(study) -> str:
    root, reports = study
    write_study(root / "report.html", reports)
    return (root / "report.html").read_text()


@pytest.fixture(scope="module")
def page(html) -> Reader:
    return Reader(html)


def test_an_unfinished_page_says_so_first_and_a_whole_one_does_not(study, html, tmp_path):
    said = "Unfinished: 2 of 8 reports"
    page = tmp_path / "unfinished.html"
    write_page(page, STUDY, TITLE, study[1][:2], focus=FOCUS, unfinished=said)
    text = page.read_text()
    assert f'<header>\n<p class="marks" role="status">{said}</p>' in text
    require_self_contained(text)
    assert 'role="status"' not in html


def test_page_nests_and_its_ids_are_unique_and_its_links_lead_somewhere(page):
    assert len(set(page.ids)) == len(page.ids) > 20
    assert page.links
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)


def test_page_fetches_and_runs_nothing(html):
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    require_self_contained(html)


def test_references_inside_figures_hold_within_their_own_figure(html, page):
    used = re.findall(r'(?:xlink:href="#|url\(#)(s\d+r\d+f\d+-[^")]+)', html)
    assert used
    assert set(used) <= set(page.ids)


def test_every_figure_has_caption_accessible_name_and_the_command_that_remakes_it(study, page):
    drawn = [(f.folder, x["file"]) for f in study[1] for x in f.report["figures"]]
    assert len(page.figures) == len(drawn) == page.tags.count("svg")
    text = "\n".join(page.figures)
    for folder, file in drawn:
        assert f"snakemake --force {folder}/{file}" in text
        assert f"Caption of {file.removesuffix('.svg')}: a & b." in text
    assert all("Remake" in figure for figure in page.figures)
    labels = [value for name, value in page.attributes if name == "svg.aria-label"]
    assert len(labels) == len(drawn)
    assert all(labels)


def test_numbers_have_sign_unit_interval_and_count(page):
    text = "|".join(part.strip() for part in page.text if part.strip())
    assert "growth of QK separation of the winner L1H2|+7.16 score|+6.81 to +7.50|207" in text
    assert "accuracy on validation_iid, at step 1,500|97.40%|96.70% to 98.10%|1,204" in text
    assert "route: weight_decay|−0.358 score" in text


def test_many_numbers_are_folded_but_none_is_lost(page):
    assert "More numbers (2 rows)" in page.folded
    assert "margin: clipped_sgd" in page.folded
    assert sum(part == "route: current_gradient" for part in page.text) == 1
    assert NUMBERS_SHOWN == 12


def test_questions_are_headings_and_a_section_is_one_paragraph_of_first_sentences(study, page):
    told = [f.report for f in study[1] if f.report["run"] in (None, FOCUS)]
    for one in told:
        assert one["question"] in page.text
    unfolded = "".join(page.unfolded)
    assert "8 analyses of run formation_seed0007 and its study" in " ".join(unfolded.split())
    assert "stays at or above 50% from step 700; it is 3.1% untrained" in unfolded
    assert "The best checkpoint is step 1,400" not in unfolded
    assert FORETOLD not in unfolded


def test_the_first_screen_is_a_sentence_the_placed_figures_and_a_few_numbers(html):
    top = html.partition("<header>")[2].partition("</header>")[0]
    sentence = "The model answers 97.40%; L1H2 looks up the value."
    assert f"<h1>{sentence}</h1>" in top
    assert top.count("<svg") == 1
    assert "Caption of learning_curve: a &amp; b." in top
    assert top.count("<dt>") == 2 <= KEYS
    assert "growth of its separation" in top
    below = html.partition("<main>")[2].partition('id="found"')[0]
    assert below.count("<svg") == 1
    assert "Caption of residual" in below


def test_a_study_without_headline_or_placed_figures_has_its_title_and_no_empty_slots(
    study, tmp_path
):
    write_page(tmp_path / "a.html", STUDY, TITLE, study[1][3:4], focus=FOCUS)
    top = (tmp_path / "a.html").read_text().partition("<header>")[2].partition("</header>")[0]
    assert f"<h1>{TITLE}</h1>" in top
    assert 'class="first"' not in top
    assert "<dl" not in top


def test_numbers_of_the_first_screen_and_of_findings_are_the_cells_of_their_reports(study, html):
    cells = {c for f in study[1] for row in numbers_as_text(f.report["numbers"]).rows for c in row}
    number = r"<dd><b>(.*?)</b> <span>95% interval (.*?), n = (.*?)</span>\n<span>(.*?)</span>"
    found = re.findall(number, html)
    keys = [(value, interval, control) for value, interval, _, control in found]
    assert ("+6.81 to +7.50", "207") in {(interval, count) for _, interval, count, _ in found}
    assert {count for _, _, count, _ in found} <= cells
    lines = re.findall(
        r'<td class="number">(.*?)</td><td class="number">(.*?)</td><td>(.*?)</td>\n*<td><a', html
    )
    assert ("+7.16 score", "+6.81 to +7.50", "L1H1 bottom: −0.0300 score") in keys
    assert set(keys) <= set(lines)
    assert len(lines) == 3
    for value, interval, control in lines:
        assert {value, interval} <= cells
        assert control == "none" or control.partition(": ")[2] in cells


def test_other_runs_are_folded(page):
    answer = "Answer accuracy on validation_iid stays at or above 50% from step 800."
    assert "Other runs: formation_seed0011" in "".join(page.unfolded)
    assert answer in page.folded
    assert page.text.count(answer) == 1


def test_marks_stand_at_the_top_and_beside_what_they_mark(page):
    mark = "3 seeds: the interval over seeds is rough."
    assert sum(mark in part for part in page.text) == 2
    assert any("second_last_written_value is right in 81.1%" in part for part in page.text)


def test_text_from_reports_cannot_become_markup(html):
    assert "Growth by head &lt;all&gt;" in html
    assert "<all>" not in html


def test_data_are_told_from_the_audit(page):
    assert "What does the data ask for, and can a shortcut answer it?" in page.text
    assert any("in data/quickstart_kv" in part for part in page.text)
    assert "snakemake --force data/quickstart_kv/audit.json" in page.text
    text = "|".join(part.strip() for part in page.text if part.strip())
    row = "accuracy of most_frequent_value_before_query, highest over splits|14.7%|–|2,315|"
    assert row + "on structural_ood; bound 40%" in text
    assert "violations of the rules of the data|0|" in text


def test_a_failed_audit_is_marked(study, tmp_path):
    checks = [{**c, "value": 3.0 if c["bound"] == 0 else c["value"]} for c in AUDIT["checks"]]
    audit = {**AUDIT, "passed": False, "checks": checks}
    write_page(tmp_path / "a.html", "s", TITLE, study[1][-2:-1], audit=("data/kv", audit))
    text = (tmp_path / "a.html").read_text()
    assert "The benchmark failed its audit." in text
    assert "fails its audit: 9 violations in 2 kinds of check" in text


def test_same_reports_same_bytes(study, html):
    root, reports = study
    write_study(root / "again.html", reports)
    assert (root / "again.html").read_text() == html


def test_provenance_lists_versions_inputs_and_code(page):
    for shown in ("2.8.0", "a0" * 32, "circuit/scalars/routing.py", "0123456789abcdef"):
        assert shown in page.text


def test_reports_from_different_code_or_inputs_are_marked():
    def made(name, digest, fingerprint):
        block = {**provenance(7, digest), "code": [f"circuit/x.py@{fingerprint}"]}
        return {"name": name, "run": None, "provenance": block}

    _, same = origins([made("a", "5b" * 32, "00"), made("b", "5b" * 32, "00")])
    assert same == []
    _, differ = origins([made("a", "5b" * 32, "00"), made("b", "6c" * 32, "01")])
    assert "different versions of an input (results/quickstart/train" in differ[0]
    assert "different versions of the library code (circuit/x.py)" in differ[1]


def changed(filed: Filed, **fields) -> Filed:
    return filed._replace(report={**filed.report, **fields})


def test_a_section_that_is_not_known_is_told_at_the_end(study, tmp_path):
    new = {"section": "A new part", "question": "How many directions?"}
    reports = [changed(study[1][-2], **new), *study[1]]
    write_page(tmp_path / "a.html", "s", TITLE, reports, focus=FOCUS)
    text = (tmp_path / "a.html").read_text()
    assert text.index("How many directions?</h3>") > text.index("Which checkpoint is the reference")


def test_sections_decide_the_order(study, tmp_path):
    reports = [f for f in study[1] if f.report["kind"] in ("closure", "head_scan")]
    write_page(tmp_path / "a.html", "s", TITLE, sorted(reports, key=lambda f: f.report["kind"]))
    text = (tmp_path / "a.html").read_text()
    places = [text.index(f"{title}</h2>") for title in (MECHANISM, EXPLAINED, "Provenance")]
    assert places == sorted(places)


def test_a_page_needs_reports_of_its_focus(study, tmp_path):
    with pytest.raises(AnalysisError, match="no reports"):
        write_page(tmp_path / "a.html", "s", TITLE, [])
    with pytest.raises(AnalysisError, match="no report of run 'elsewhere'"):
        write_page(tmp_path / "a.html", "s", TITLE, study[1], focus="elsewhere")


def test_a_figure_that_its_report_does_not_vouch_for_makes_no_page(study, tmp_path):
    for vouched in ({"sha256": "0" * 64}, {}):
        report = study[1][0].report
        figures = [{"file": f["file"], "caption": "x", **vouched} for f in report["figures"]]
        with pytest.raises(ArtifactError, match="another one than its report was made with"):
            write_page(tmp_path / "a.html", "s", TITLE, [changed(study[1][0], figures=figures)])


def test_a_missing_figure_is_named(study, tmp_path):
    lost = changed(study[1][0], figures=[{"file": "lost.svg", "caption": "lost"}])
    with pytest.raises(ArtifactError, match=r"figure is missing.*lost\.svg"):
        write_page(tmp_path / "a.html", "s", TITLE, [lost])
    assert not list(tmp_path.iterdir())


FIGURE = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
 width="10pt" viewBox="0 0 9 9"><title>t</title><defs><style>*{{color:red}}</style>
 <path id="m" d="M0 0"/><clipPath id="c"><rect id="spare"/></clipPath></defs>
 <g clip-path="url(#c)" style="clip-path: url(#c)"><use xlink:href="#m"/></g>{0}</svg>"""


def test_inlined_figures_keep_only_ids_in_use_under_their_prefix(tmp_path):
    path = tmp_path / "a.svg"
    path.write_text(FIGURE.format("<text>a &lt; b</text>"))
    markup = inline_svg(path, "f1", 'a "quoted" label')
    assert 'id="f1-1"' in markup
    assert 'id="f1-0"' in markup
    assert "spare" not in markup
    assert 'xlink:href="#f1-1"' in markup
    assert markup.count("url(#f1-0)") == 2
    assert "<style" not in markup
    assert "<title" not in markup
    assert "width=" not in markup
    assert "a &lt; b" in markup
    assert 'role="img"' in markup
    assert 'aria-label="a &quot;quoted&quot; label"' in markup


def test_figures_of_a_page_share_their_styles(tmp_path):
    path, looks = tmp_path / "a.svg", {}
    path.write_text(FIGURE.format('<path style="fill: red"/><path style="fill: red"/>'))
    first, second = (inline_svg(path, name, "label", looks=looks) for name in ("f1", "f2"))
    assert looks == {"fill: red": "k0"}
    assert first.count('class="k0"') == second.count('class="k0"') == 2
    # What names an id is each figure's own.
    assert 'style="clip-path: url(#f1-0)"' in first
    assert rules(looks) == "svg.plot .k0{fill: red}"


@pytest.mark.parametrize(
    ("inside", "what"),
    [
        ("<script>x</script>", "a <script> element"),
        ('<g onclick="x()"/>', "an event handler 'onclick'"),
        ('<use xlink:href="other.svg#m"/>', "a reference to 'other.svg#m'"),
        ('<image href="https://example.org/a.png"/>', "a reference to 'https://example.org/a.png'"),
        ('<g style="fill: url(https://example.org)"/>', "a reference in "),
    ],
)
def test_figures_that_could_run_or_fetch_are_refused(inside, what, tmp_path):
    path = tmp_path / "a.svg"
    path.write_text(FIGURE.format(inside))
    with pytest.raises(ArtifactError) as caught:
        inline_svg(path, "f1", "label")
    assert what in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_figure_that_is_not_the_reports_is_refused(tmp_path):
    path = tmp_path / "a.svg"
    path.write_text(FIGURE.format(""))
    kept = sha256_file(path)
    inline_svg(path, "f1", "label", kept)
    path.write_text(FIGURE.format("<text>0.9</text>"))
    with pytest.raises(ArtifactError, match=r"another one than its report .*a\.svg.*delete it"):
        inline_svg(path, "f1", "label", kept)
    path.unlink()
    path.mkdir()
    with pytest.raises(ArtifactError, match=r"^figure cannot be read \(Is a directory\).*a\.svg"):
        inline_svg(path, "f1", "label", kept)


@pytest.mark.parametrize("content", ["<svg", "<html></html>"])
def test_damaged_figures_are_refused(content, tmp_path):
    path = tmp_path / "a.svg"
    path.write_text(content)
    with pytest.raises(ArtifactError, match=r"a\.svg"):
        inline_svg(path, "f1", "label")
