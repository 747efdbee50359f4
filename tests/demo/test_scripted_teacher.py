"""The scripted teacher behind the real client: on topic, repeatable, honest about what it is."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import pytest
from openai import OpenAI

from flywheel.config import SynthesisTable, TeacherTable, load_intents
from flywheel.curation import near_duplicates
from flywheel.demo import scripted_teacher
from flywheel.demo.grammar import STARTER, grammar
from flywheel.errors import TeacherUnavailable
from flywheel.records import NONE, Brief, Intent
from flywheel.teacher.openai import OpenAITeacher
from tests.fakes.answer_store import MemoryStore

INTENTS = {i.name: i for i in load_intents(STARTER / "intents.toml")} | {NONE: Intent(name=NONE)}


def brief(
    name: str, neighbour: str | None = None, ask: int = 25, failed: tuple[str, ...] = ()
) -> Brief:
    return Brief(
        id=f"b-{name}",
        intent=INTENTS.get(name, Intent(name=name)),
        neighbour=INTENTS[neighbour] if neighbour else None,
        failed_texts=failed,
        examples=(),
        contrast=(),
        ask=ask,
        why="",
    )


def written(base_url: str, *briefs: Brief) -> dict[str, list[str]]:
    table = TeacherTable(base_url=base_url, model=scripted_teacher.MODEL, max_retries=0)
    answers = OpenAITeacher(table, SynthesisTable()).write(briefs, MemoryStore())
    assert not [problem for given in answers.values() for a in given for problem in a.problems]
    return {name: [d.text for a in given for d in a.drafts] for name, given in answers.items()}


def test_it_writes_what_is_asked_for_every_intent_and_keeps_off_golden() -> None:
    golden = [
        json.loads(line)["text"]
        for line in (STARTER / "golden.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    with scripted_teacher.serving() as base_url:
        found = written(base_url, *(brief(name) for name in INTENTS))
    assert set(found) == {f"b-{name}" for name in INTENTS}
    for name in INTENTS:
        texts = found[f"b-{name}"]
        assert len(texts) == 25
        assert len(set(texts)) > 15
        assert set(texts) <= {one.text for one in grammar().utterances(name)}
        assert near_duplicates(texts, golden, 0.8) == []


def test_it_leans_to_the_neighbour_and_repeats_no_known_sentence() -> None:
    known = ("wake me in about five minutes", "buzz five minutes from now")
    with scripted_teacher.serving() as base_url:
        texts = written(base_url, brief("set_timer", "set_alarm", 100, known))["b-set_timer"]
    close = {
        one.text
        for pattern in grammar().patterns("set_timer")
        if pattern.near == "set_alarm"
        for one in pattern.utterances
    }
    assert set(known) <= close
    assert not set(known) & set(texts)
    assert sum(text in close for text in texts) > 30


def test_it_writes_in_the_language_that_it_is_told() -> None:
    asked = brief("set_timer", failed=("过十分钟喊我",))
    with scripted_teacher.serving() as base_url:
        texts = written(base_url, asked)["b-set_timer"]
    assert len(texts) == 25
    assert set(texts) <= {one.text for one in grammar("zh").utterances("set_timer")}


def test_the_same_brief_gets_the_same_sentences() -> None:
    with scripted_teacher.serving() as base_url:
        assert written(base_url, brief("play_podcast")) == written(base_url, brief("play_podcast"))


def test_it_says_that_it_is_scripted() -> None:
    with scripted_teacher.serving() as base_url:
        client = OpenAI(base_url=base_url, api_key="none", max_retries=0)
        with client:
            (model,) = client.models.list()
        address = urlsplit(base_url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        connection.request("GET", "/v1/models")
        headers = connection.getresponse().headers
        connection.close()
    assert model.id == "scripted-teacher"
    assert model.owned_by.startswith("scripted")
    assert headers["X-Teacher"] == "scripted: sentences of a grammar, no language model"


def test_it_refuses_an_intent_it_has_no_sentences_for() -> None:
    with (
        scripted_teacher.serving() as base_url,
        pytest.raises(TeacherUnavailable, match="status 400"),
    ):
        written(base_url, brief("放音乐"))


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", b"no json", 400),
        ("/v1/chat/completions", b'{"messages": [{"role": "user", "content": "hi"}]}', 400),
        ("/v1/chat/completions", b'{"messages": 7}', 400),
        ("/v1/chat/completions", b'"text"', 400),
        ("/v1/embeddings", b"{}", 404),
    ],
)
def test_what_is_no_request_of_ours_is_refused(path: str, body: bytes, status: int) -> None:
    with scripted_teacher.serving() as base_url:
        address = urlsplit(base_url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        connection.request("POST", path, body)
        response = connection.getresponse()
        error = json.loads(response.read())["error"]["message"]
        connection.close()
    assert response.status == status
    assert error
