"""docs/captures/ shows what the code prints today, and the cases that the tests have today."""

import importlib.util
import json

import pytest
import test_killed
from pages import ROOT

from flywheel.cli.decision_page import page

CAPTURES = ROOT / "docs" / "captures"


@pytest.fixture(scope="module")
def captures():
    """The module that makes them."""
    spec = importlib.util.spec_from_file_location("captures", ROOT / "docs" / "captures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_review_is_what_the_command_prints_of_the_recorded_decision(captures, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(captures.WIDTH))
    monkeypatch.setenv("NO_COLOR", "1")
    decision = json.loads((CAPTURES / "review-show.json").read_text(encoding="utf-8"))
    shown = (CAPTURES / "review-show.txt").read_text(encoding="utf-8")
    assert "\n".join(page(decision, everything=False)) + "\n" == shown


def test_the_crash_table_has_the_cases_of_the_kill_tests(captures):
    marks = test_killed.test_kills_at_any_time_change_nothing_in_the_end.pytestmark
    (storms,) = [mark.args[1] for mark in marks if mark.name == "parametrize"]
    expected = captures.crash_table(dict.fromkeys(test_killed.FATES, True), len(storms), calm=True)
    assert (CAPTURES / "crash-table.md").read_text(encoding="utf-8") == expected


def test_a_kill_that_changed_something_is_shown(captures):
    same = {("worker", "train", moment): moment != "in" for moment in ("before", "in", "after")}
    assert "| train | same | DIFFERS | same |" in captures.crash_table(same, 5, calm=True)


@pytest.mark.slow
def test_the_review_can_be_made_anew(captures, monkeypatch, tmp_path):
    monkeypatch.setattr(captures, "CAPTURES", tmp_path)
    captures.make_review_show()
    made, shown = (sections(folder / "review-show.txt") for folder in (tmp_path, CAPTURES))
    assert made == shown


def sections(path):
    """The headings of a page, without the numbers that they end in."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {line.partition(" (")[0] for line in lines if line[:1].isupper()}
