"""A finished page's result as a terminal shows it: ``python -m circuit.reports.result PAGE``."""

from __future__ import annotations

import html
import os
import re
import sys
from pathlib import Path

from circuit.errors import AnalysisError


def result(path: str | os.PathLike[str]) -> str:
    """The sentence that heads a study's page, as plain text; its title where nothing was told.

    Raises AnalysisError where the page has no heading.
    """
    heading = re.search(
        r"<h1[^>]*>(.*?)</h1>", Path(path).read_text(encoding="utf-8"), flags=re.DOTALL
    )
    if heading is None:
        raise AnalysisError(
            "no heading",
            where=str(path),
            expected="a study's page, headed by its result",
            do="delete the page and run the study again",
        )
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", heading[1])).split())


if __name__ == "__main__":
    print(f"The report is {sys.argv[1]}\n{result(sys.argv[1])}")
