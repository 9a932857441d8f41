"""A study's page before all its analyses are there; the logger plugin has it made.

``python -m circuit.reports.unfinished CONTENT``, where CONTENT is JSON: ``study``, ``title``,
``focus``, ``page`` (the file to write), ``reports`` and ``audits`` (files that are there) and
``of`` (how many reports there will be). The page is nobody's input: nothing waits for it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_unfinished(content: Mapping[str, Any]) -> None:
    """Write the page of the analyses that are there, whole or not at all.

    Raises:
        AnalysisError, ArtifactError: as :func:`circuit.reports.page.write_page` does.
    """
    from circuit.artifacts import read_json
    from circuit.reports.document import read_report
    from circuit.reports.page import write_page

    audits = [(Path(file).parent, read_json(file)) for file in content["audits"]]
    write_page(
        content["page"],
        study=content["study"],
        title=content["title"],
        reports=[(Path(file).parent, read_report(file)) for file in content["reports"]],
        focus=content["focus"],
        audit=next(iter(audits), None),
        unfinished=f"Unfinished: {len(content['reports'])} of {content['of']} reports were there "
        f"at {time.strftime('%H:%M')}; all below is by these alone. Reload the page for more.",
    )


if __name__ == "__main__":
    os.nice(19)  # before the imports: jobs come first
    write_unfinished(json.loads(sys.argv[1]))
