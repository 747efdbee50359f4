"""docs/reference/ is what the code says; no page is lost, and no link leads nowhere."""

import subprocess
import sys

import pytest
from pages import PAGES, ROOT, anchors, linked, title


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
    files = sorted(index.parent.glob("[0-9]*.md"))
    rows = [f"| [{page.name[:4]}]({page.name}) | {title(page)[6:]} |" for page in files]
    lines = index.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| [")] == rows


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
