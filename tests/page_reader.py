"""What tests ask of a page: is it well nested, what is folded, does it fetch anything."""

import re
from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Reader(HTMLParser):
    """Checks nesting, and notes what the tests ask about."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.folded: list[str] = []
        self.unfolded: list[str] = []
        self.text: list[str] = []
        self.figures: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(f"{tag}.{name}", value or "") for name, value in attrs]
        found = dict(attrs)
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "a":
            self.links.append(found["href"])
        if tag == "figure":
            self.figures.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)
            # The summary of the outermost is what one sees of it.
            depth = self.open.count("details") - ("summary" in self.open)
            (self.folded if depth > 0 else self.unfolded).append(data)
            if "figure" in self.open:
                self.figures[-1] += data


def require_self_contained(html: str) -> None:
    """Nothing in the page runs, and nothing is fetched from outside."""
    page = Reader(html)
    assert not {"script", "link", "iframe", "img", "object", "embed"} & set(page.tags)
    names = {name.partition(".")[2] for name, _ in page.attributes}
    assert "src" not in names
    assert not [name for name in names if name.startswith("on")]
    for name, value in page.attributes:
        if name.endswith("href"):
            assert value.startswith(("#", "data:image/png;base64,")), value
        elif "xmlns" not in name:
            assert "//" not in value, (name, value)
    outside = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert "http" not in outside
    assert "@import" not in outside
    assert not re.search(r"url\((?!#)", outside)
