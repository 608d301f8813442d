"""What a test asks of an HTML page: that it is whole and loads nothing."""

from __future__ import annotations

from html.parser import HTMLParser


class Tags(HTMLParser):
    """Fails on tags that are not closed in order; collects ids, links inside the page and what it would load."""

    EMPTY = frozenset({"meta"})

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "iframe", "img")
        if tag not in self.EMPTY:
            self.open.append(tag)
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        if "href" in values:
            (self.links if tag in ("a", "use") else self.loads).append(values["href"])

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
