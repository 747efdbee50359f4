"""The pages: the reference is the code's, links lead somewhere, each kind of page has its form."""

import re
import subprocess
import sys
from datetime import date

import pytest
from pages import PAGES, ROOT, anchors, linked, title

from flywheel import __version__

ADRS = sorted(ROOT.glob("docs/adr/[0-9]*.md"))
CHANGELOG = ROOT / "CHANGELOG.md"


def test_the_reference_is_what_the_code_says():
    made = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (made.stdout, made.stderr, made.returncode) == ("", "", 0)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page):
    nowhere = [
        (target.name, anchor)
        for target, anchor in linked(page)
        if not target.exists() or (anchor and anchor not in anchors(target))
    ]
    assert nowhere == []


def test_every_page_is_reached_from_the_readme():
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page.suffix == ".md" and page not in reached:
            reached.add(page)
            ahead += [target for target, _ in linked(page)]
    lost = [str(page.relative_to(ROOT)) for page in PAGES if page not in reached]
    assert lost == []


def test_the_index_of_decisions_lists_each_of_them_by_number_and_title():
    index = ROOT / "docs" / "adr" / "README.md"
    rows = [f"| [{page.name[:4]}]({page.name}) | {title(page)[6:]} |" for page in ADRS]
    lines = index.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| [")] == rows
    numbers = [page.name[:4] for page in ADRS]
    assert numbers == sorted(set(numbers))


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", ADRS, ids=lambda path: path.name)
def test_a_decision_has_four_parts_on_less_than_a_screen(page):
    text = page.read_text(encoding="utf-8")
    parts = re.findall(r"^\*\*(Question|Choice|Because|Price)\.\*\*", text, re.MULTILINE)
    assert parts == ["Question", "Choice", "Because", "Price"]
    assert 10 <= len(text.splitlines()) <= 25
    assert max(map(len, text.splitlines())) <= 140


def test_the_newest_release_in_the_changelog_is_the_version_of_the_code():
    heads = re.findall(r"^## (.+)$", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)
    assert heads[0] == "Unreleased"
    releases = [head.split(" – ") for head in heads[1:]]
    assert releases[0][0] == __version__
    days = [date.fromisoformat(day) for _, day in releases]
    assert days == sorted(days, reverse=True)


def test_the_changelog_groups_what_users_notice():
    heads = re.findall(r"^### (.+)$", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(heads) <= {"Added", "Changed", "Removed", "Fixed"}


def test_a_release_in_the_changelog_is_read_in_two_minutes():
    releases = CHANGELOG.read_text(encoding="utf-8").split("\n## ")[1:]
    assert {
        text.split("\n")[0]: text.count("\n") for text in releases if text.count("\n") > 100
    } == {}
