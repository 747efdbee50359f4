"""Names of people are hidden where a model for them is configured, and else not looked for."""

from __future__ import annotations

import pytest

from flywheel.config import TeacherTable
from flywheel.errors import FlywheelError
from flywheel.records import Brief, Intent
from flywheel.teacher.prompts import requests
from flywheel.teacher.redaction import finder, redact, redacted

PEOPLE = [
    {"label": "PERSON", "pattern": "Maria Garcia"},
    {"label": "PER", "pattern": "李雷"},
    {"label": "ORG", "pattern": "Acme"},
]


def pipeline(folder, *, named=True):
    """A real spaCy pipeline on disk; rules stand for the learned recogniser of a hub's model."""
    import spacy  # takes seconds, and each process that runs tests reads all files of tests

    made = spacy.blank("xx")
    if named:
        made.add_pipe("entity_ruler").add_patterns(PEOPLE)
    made.to_disk(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def _forget():
    finder.cache_clear()
    yield
    finder.cache_clear()


def test_a_persons_name_leaves_as_its_kind_and_a_company_as_it_is(tmp_path):
    names = finder(pipeline(tmp_path / "ner"))
    said = "tell Maria Garcia of Acme to call 415-555-2671"
    assert redact(said, names).text == "tell [name] of Acme to call [phone]"
    assert redact(said, names).hidden == ("name", "phone")
    assert redacted(("打电话给 李雷 吧",), names) == ("打电话给 [name] 吧",)


def test_without_a_model_names_stay():
    assert finder(TeacherTable().names_model) is None
    assert redact("tell Maria Garcia", None).text == "tell Maria Garcia"


def test_no_name_stands_in_any_part_of_a_request(tmp_path):
    names = finder(pipeline(tmp_path / "ner"))
    brief = Brief(
        id="b-1",
        intent=Intent(name="call", description="call somebody"),
        failed_texts=("call Maria Garcia",),
        examples=("ring Maria Garcia",),
        contrast=("text Maria Garcia",),
        neighbour=None,
        ask=3,
        why="",
    )
    (sent,) = requests(brief, 10, names=names)
    assert "Maria" not in str(sent.messages)
    assert str(sent.messages[1:]).count("[name]") == 3
    (bare,) = requests(brief, 10, redact=False)
    assert str(bare.messages).count("Maria Garcia") == 3


def test_a_model_that_cannot_be_loaded_stops_the_teacher_and_says_why(tmp_path):
    with pytest.raises(FlywheelError, match=r"cannot load .*nowhere"):
        finder(str(tmp_path / "nowhere"))


def test_a_model_that_finds_no_names_is_refused(tmp_path):
    with pytest.raises(FlywheelError, match="no `ner`"):
        finder(pipeline(tmp_path / "plain", named=False))
