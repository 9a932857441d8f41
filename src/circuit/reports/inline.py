"""Figures inside a page: an SVG file as markup that stands next to others without clashing.

1. Parse the file; refuse what a figure of ours never holds (scripts, event handlers, references
   to other files), since it would run or be fetched in the reader's browser.
2. Drop what only a file of its own needs: metadata, title, size, and the style sheet, whose rules
   would hold for the whole page (:mod:`circuit.reports.html` says the same for figures only).
3. Keep only ids that something refers to, and put the figure's prefix before them and before the
   references.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup

from circuit.artifacts import sha256_bytes
from circuit.errors import ArtifactError

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_HREFS = (f"{{{_XLINK}}}href", "href")
_URL = re.compile(r"url\(#([^)]+)\)")
_DROPPED = {f"{{{_SVG}}}{tag}" for tag in ("metadata", "title", "style")}


def inline_svg(
    path: Path,
    prefix: str,
    label: str,
    sha256: str | None = None,
    looks: dict[str, str] | None = None,
) -> Markup:
    """Return an SVG file as markup for a page.

    Args:
        prefix: put before ids; must be unique in the page.
        label: what a screen reader says instead of the picture.
        sha256: of the file, where a report keeps it.
        looks: style → class of a page with many figures, whose styles become :func:`rules` that
            all of them share; what a figure adds is put in.

    Raises:
        ArtifactError: the file is missing, is another one than the report's, is no SVG, or holds
            what could run or be fetched.
    """
    root = _parse(path, sha256)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in _DROPPED:
                parent.remove(child)
    used: dict[str, str] = {}
    for element in root.iter():
        _require_harmless(element, path)
        for name, value in element.attrib.items():
            for one in [value[1:]] if name in _HREFS else _URL.findall(value):
                used.setdefault(one, f"{prefix}-{len(used)}")
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        for name, value in element.attrib.items():
            if name == "id":
                element.set(name, used[value])
            elif name in _HREFS and value.startswith("#"):
                element.set(name, f"#{used[value[1:]]}")
            else:
                element.set(name, _URL.sub(lambda found: f"url(#{used[found[1]]})", value))
        if looks is not None and "url(" not in element.get("style", "url("):
            element.set("class", looks.setdefault(element.attrib.pop("style"), f"k{len(looks)}"))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"class": "plot", "role": "img", "aria-label": label}
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    return Markup(re.sub(r">\s+<", "><", ET.tostring(root, encoding="unicode")))


def rules(looks: Mapping[str, str]) -> str:
    """The style sheet of figures whose styles are ``looks``; above what holds for all figures."""
    return "".join(f"svg.plot .{name}{{{style}}}" for style, name in looks.items())


def _parse(path: Path, sha256: str | None) -> ET.Element:
    try:
        content = path.read_bytes()
        if sha256 not in (None, sha256_bytes(content)):
            raise _refused(path, "is damaged, or another one than its report was made with")
        root = ET.fromstring(content)
    except FileNotFoundError as error:
        raise ArtifactError(
            "figure is missing",
            where=path,
            expected="the SVG that its report names",
            do="ask snakemake for this path, which makes it",
        ) from error
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror})") from error
    except ET.ParseError as error:
        raise _refused(path, f"is not whole, valid XML ({error})") from error
    if root.tag != f"{{{_SVG}}}svg":
        raise _refused(path, "is no SVG")
    return root


def _require_harmless(element: ET.Element, path: Path) -> None:
    tag, bad = str(element.tag).rpartition("}")[2], ""
    if tag in ("script", "foreignObject"):
        bad = f"a <{tag}> element"
    for name, value in element.attrib.items():
        if name in _HREFS and not value.startswith(("#", "data:image/png;base64,")):
            bad = f"a reference to {value!r}"
        elif name.lower().startswith("on"):
            bad = f"an event handler {name!r}"
        elif "url(" in _URL.sub("", value):
            bad = f"a reference in {value!r}"
    if bad:
        raise _refused(path, f"holds {bad}, which could run or be fetched in a reader's browser")


def _refused(path: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"figure {why}",
        where=path,
        expected="an SVG written by save_svg",
        do="delete it and let snakemake make it again",
    )
