"""The documentation as Markdown: its pages, their links, their fenced blocks."""

import functools
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


def links(page):
    """Every link's target as it is written, and the text that carries it."""
    found = []
    for token in _tokens(page):
        target = None
        for child in token.children or ():
            if child.type == "link_open":
                target, text = child.attrs["href"], ""
            elif child.type == "link_close":
                found.append((target, text))
                target = None
            elif target is not None:
                text += child.content
    return found


def linked_pages(page):
    """The files of the repository that a page links to, without their anchors."""
    local = [target.split("#")[0] for target, _ in links(page) if "://" not in target]
    return [(page.parent / target).resolve() for target in local if target]


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
