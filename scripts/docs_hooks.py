"""Hooks of the documentation site: equations become MathML as it is built, so that pages need no script for them."""

import html
import re

from latex2mathml.converter import convert  # pyright: ignore[reportMissingImports]

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.S)
BLOCK = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.S)
TAG = re.compile(r"\\tag\{(.*?)\}")


def on_page_content(text: str, **_: object) -> str:
    """The page with its equations as MathML."""
    return BLOCK.sub(lambda found: _block(html.unescape(found[1])), INLINE.sub(lambda found: _inline(found[1]), text))


def _inline(latex: str) -> str:
    return convert(html.unescape(latex).strip())


def _block(latex: str) -> str:
    tag = TAG.search(latex)
    number = f'<span class="tag">({tag[1]})</span>' if tag else ""
    return f'<div class="equation">{convert(TAG.sub("", latex).strip(), display="block")}{number}</div>'
