"""The teacher end to end: briefs in, drafts out, over HTTP, through every fault."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from flywheel.config import SynthesisTable, TeacherTable
from flywheel.errors import TeacherUnavailable
from flywheel.protocols import Teacher
from flywheel.records import Brief, Intent
from flywheel.teacher.openai import OpenAITeacher
from tests.fakes.answer_store import Killed, MemoryStore
from tests.fakes.teacher_server import (
    Cut,
    Says,
    Status,
    TeacherServer,
    Turn,
    samples,
    teacher_server,
)
from tests.waiting import CEILING_S

MUSIC = Intent(name="放音乐", description="播放歌曲或专辑")
PODCAST = Intent(name="play_podcast", description="Play spoken audio")


def brief(name: str = "b-1", ask: int = 10, intent: Intent = MUSIC) -> Brief:
    return Brief(
        id=name,
        intent=intent,
        neighbour=PODCAST if intent is MUSIC else MUSIC,
        failed_texts=("我要听音乐", f"来点{name}"),
        examples=("放一首歌",),
        contrast=("play Serial",),
        ask=ask,
        why="放音乐 is wrong in 7 of 20.",
    )


def teacher(server: TeacherServer, synthesis: SynthesisTable | None = None, **keys: Any) -> Teacher:
    given = {
        "base_url": server.base_url,
        "model": "m",
        "timeout_s": CEILING_S,
        "max_retries": 1,
    } | keys
    return OpenAITeacher(TeacherTable(**given), synthesis or SynthesisTable(verify=False))


def test_a_brief_is_answered_in_numbered_parts() -> None:
    with teacher_server() as server:
        store = MemoryStore()
        answers = teacher(server).write([brief(ask=25)], store)
        assert len(server.requests) == len(store.kept) == 3
    (given,) = answers.values()
    assert [answer.request for answer in given] == list(dict.fromkeys(a.request for a in given))
    assert {draft.intent for answer in given for draft in answer.drafts} == {"放音乐"}
    assert len({draft.text for answer in given for draft in answer.drafts}) == 3


def test_chinese_goes_there_and_back() -> None:
    with teacher_server(Says(samples("播放周杰伦的新专辑", "来点音乐吧"))) as server:
        answers = teacher(server).write([brief()], MemoryStore())
        sent = server.requests[0]["messages"][1]["content"]
    assert "我要听音乐" in sent
    assert "播放歌曲或专辑" in sent
    assert [draft.text for draft in answers["b-1"][0].drafts] == [
        "播放周杰伦的新专辑",
        "来点音乐吧",
    ]


@pytest.mark.parametrize("paid", range(7))
def test_a_teacher_killed_in_the_middle_buys_nothing_twice(paid: int) -> None:
    briefs = [brief("b-1", 30), brief("b-2", 30)]
    with teacher_server() as server:
        store = MemoryStore(dies_after=paid)
        if paid < 6:
            with pytest.raises(Killed):
                teacher(server, max_concurrency=1).write(briefs, store)
        else:
            teacher(server).write(briefs, store)
        asked = len(server.requests)
        assert len(store.kept) == paid
        store.dies_after = None
        answers = teacher(server).write(briefs, store)
        assert len(server.requests) - asked == 6 - paid
    given = [answer for parts in answers.values() for answer in parts]
    assert len(given) == 6
    assert sum(not answer.bought for answer in given) == paid


def test_the_restarted_answers_are_the_paid_ones() -> None:
    with teacher_server() as server:
        store = MemoryStore()
        first = teacher(server).write([brief(ask=30)], store)
        second = teacher(server).write([brief(ask=30)], store)
    drafts = [[answer.drafts for answer in given["b-1"]] for given in (first, second)]
    assert drafts[0] == drafts[1]


@pytest.mark.parametrize(
    ("turn", "texts", "problem"),
    [
        (Says("```json\n" + samples("a", "b") + "\n```"), ["a", "b"], None),
        (Says("Here:\n" + samples("a") + "\nand\n" + samples("b")), ["a", "b"], None),
        (
            Says(samples("a", "b")[:-30], finish="length"),
            ["a"],
            "cut off at the model's length limit",
        ),
        (Says("no JSON at all"), [], "no sample in it"),
        (Says(None, refusal="I cannot"), [], "the model declined to answer"),
        (Says("", finish="content_filter"), [], "the model declined to answer"),
    ],
)
def test_what_can_be_read_of_an_answer_is_used(
    turn: Turn, texts: list[str], problem: str | None
) -> None:
    with teacher_server(turn) as server:
        (answer,) = teacher(server).write([brief()], MemoryStore())["b-1"]
        assert len(server.requests) == 1
    assert [draft.text for draft in answer.drafts] == texts
    assert (problem in answer.problems) if problem else not answer.problems


@pytest.mark.parametrize("fault", [Status(400), Status(500), Cut()], ids=repr)
def test_a_brief_whose_requests_all_failed_has_no_answer(fault: Turn) -> None:
    def faulty(body: dict[str, Any]) -> Turn:
        return fault if "来点b-2" in body["messages"][1]["content"] else Says(samples("a"))

    with teacher_server(otherwise=faulty) as server:
        both = [brief("b-1"), brief("b-2")]
        answers = teacher(server, max_retries=0).write(both, MemoryStore())
    assert list(answers) == ["b-1"]


@pytest.mark.parametrize("fault", [Status(401), Status(500), Cut()], ids=repr)
def test_a_teacher_that_answers_nothing_is_unavailable(fault: Turn) -> None:
    with (
        teacher_server(otherwise=lambda body: fault) as server,
        pytest.raises(TeacherUnavailable, match="did not answer") as raised,
    ):
        teacher(server, max_retries=0).write([brief()], MemoryStore())
    assert "[teacher]" in raised.value.hint


def test_a_teacher_without_its_key_is_unavailable() -> None:
    with teacher_server() as server, pytest.raises(TeacherUnavailable, match="NO_SUCH_KEY"):
        teacher(server, api_key_env="NO_SUCH_KEY").write([brief()], MemoryStore())


def test_spending_stops_at_the_limit_and_what_was_answered_is_used() -> None:
    dear = {"usd_per_million_input": 1.0, "max_concurrency": 1}
    with teacher_server(otherwise=lambda body: Says(samples("a"), usage=(1_000_000, 0))) as server:
        answers = teacher(server, SynthesisTable(max_usd=2.5, verify=False), **dear).write(
            [brief(ask=100)], MemoryStore()
        )
        assert len(server.requests) == 3
    assert [answer.usd for answer in answers["b-1"]] == [1.0, 1.0, 1.0]


def test_without_any_money_nothing_is_asked_and_nothing_is_wrong() -> None:
    with teacher_server() as server:
        answers = teacher(server, SynthesisTable(max_usd=0.0)).write([brief()], MemoryStore())
        assert not server.requests
    assert answers == {}


def test_no_brief_asks_nothing() -> None:
    with teacher_server() as server:
        assert teacher(server).write([], MemoryStore()) == {}
        assert teacher(server).write([brief(ask=0)], MemoryStore()) == {}
        assert not server.requests


def test_a_request_is_written_when_a_place_is_free_for_it() -> None:
    class Counted(list[Brief]):
        taken = 0

        def __iter__(self) -> Iterator[Brief]:
            for each in super().__iter__():
                self.taken += 1
                yield each

    briefs = Counted(brief(f"b-{number}", ask=1) for number in range(30))
    ahead: list[int] = []

    def answer(body: dict[str, Any]) -> Turn:
        ahead.append(briefs.taken - len(server.requests))
        return Says(samples(f"text {len(server.requests)}"))

    with teacher_server(otherwise=answer) as server:
        answers = teacher(server, max_concurrency=3).write(briefs, MemoryStore())
    assert list(answers) == [each.id for each in briefs]
    assert max(ahead) <= 3


def test_the_store_is_called_from_the_calling_thread_alone() -> None:
    store = MemoryStore()
    with teacher_server() as server:
        worker = threading.Thread(target=lambda: teacher(server).write([brief(ask=40)], store))
        worker.start()
        worker.join(CEILING_S)
        assert store.threads == {worker.ident}


def blind(*names: str) -> Says:
    labels = [{"number": n, "function": name, "arguments": {}} for n, name in enumerate(names, 1)]
    return Says(json.dumps({"labels": labels}))


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (Says("I would rather not"), blind(MUSIC.name), MUSIC.name),  # no label that can be read
        (blind(PODCAST.name), blind(MUSIC.name), MUSIC.name),  # one slip
        (blind(PODCAST.name), blind("none"), PODCAST.name),  # not the asked intent, twice
        (blind(PODCAST.name), Says("sorry"), PODCAST.name),
        (Says("sorry"), Says("sorry"), None),
    ],
)
def test_what_the_blind_question_does_not_confirm_is_asked_about_once_more(
    first: Turn, second: Turn, said: str | None
) -> None:
    with teacher_server(Says(samples("放张专辑")), first, second) as server:
        table = TeacherTable(base_url=server.base_url, model="m", max_retries=0)
        asks = OpenAITeacher(table, SynthesisTable(), (MUSIC, PODCAST))
        (answers,) = asks.write([brief(ask=1)], MemoryStore()).values()
    (draft,) = [draft for answer in answers for draft in answer.drafts]
    assert draft.blind is not None
    assert draft.blind.intent == said
    assert len(server.requests) == 3
    assert len(answers) == 3  # what both questions cost is told
