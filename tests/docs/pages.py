"""The documentation as Markdown: its pages, their links, their fenced blocks."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block."""

    page: Path
    line: int  # of its first line of text, from 1
    language: str
    text: str

    @property
    def place(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@functools.cache
def _tokens(page):
    parser = MarkdownIt("commonmark").enable("table")
    return parser.parse(page.read_text(encoding="utf-8"))


def linked(page):
    """(file of the repository, anchor or "") of every link that leads into the repository."""
    targets = [
        child.attrs["href"]
        for token in _tokens(page)
        for child in token.children or ()
        if child.type == "link_open"
    ]
    parts = [target.partition("#") for target in targets if "://" not in target]
    return [((page.parent / path).resolve() if path else page, at) for path, _, at in parts]


def anchors(page):
    """What a link can name within a page: its headings, spelled as GitHub spells them."""
    tokens = _tokens(page)
    heads = [tokens[i + 1].content for i, t in enumerate(tokens) if t.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def blocks(page):
    """Every fenced block, in order."""
    return [
        Block(page=page, line=token.map[0] + 2, language=token.info, text=token.content)
        for token in _tokens(page)
        if token.type == "fence"
    ]


def code_spans(page):
    """The text of every `code span` outside of blocks."""
    return [
        child.content
        for token in _tokens(page)
        for child in token.children or ()
        if child.type == "code_inline"
    ]


def title(page):
    """The text of the first heading."""
    tokens = _tokens(page)
    at = next(i for i, token in enumerate(tokens) if token.type == "heading_open")
    return tokens[at + 1].content
