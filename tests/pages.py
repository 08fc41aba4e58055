"""What tests read out of an HTML page."""

import html.parser


class Page(html.parser.HTMLParser):
    """Every tag, attribute and word of a page, and whether its tags are balanced."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.attributes, self.open, self.words = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def said(self) -> str:
        """Its words, as they are read."""
        return " ".join(" ".join(self.words).split())
