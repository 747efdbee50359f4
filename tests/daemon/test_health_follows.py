"""As soon as the champion changes, a running daemon puts what is labelled to the new one; until
then nothing that an earlier champion got wrong is shown as today's."""

import contextlib
import json
import os
import shutil

import pytest
from killable_daemon import running
from runtimes import ALARM, WORDS
from waiting_promotion import story_in

from flywheel.errors import DaemonUnreachable
from tests.waiting import until

CONFIG = """
[gates.overall]
profile = "fast"
[gates.intents]
margin = 0.30
[promotion]
mode = "review"
bootstrap = "auto"
[schedule]
cron = ""
"""
TEXTS = 12


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A folder in which the adapter `better` waits for a person: it has learned 12 labelled texts
    of each intent that the champion answers wrongly."""
    folder = tmp_path_factory.mktemp("waiting")
    story = story_in(folder)
    (folder / "config.toml").write_text(CONFIG, encoding="utf-8")
    names = [f'[[intent]]\nname = "{name}"\n' for name in WORDS]
    (folder / "intents.toml").write_text("".join(names), encoding="utf-8")
    return story


@pytest.fixture
def folder(story, tmp_path):
    return shutil.copytree(story.folder, tmp_path / "folder", symlinks=True)


def answer_wrongly(client, adapter):
    """Texts with a word of ALARM that only `better` knows, and what was meant."""
    ids = [f"new-{n}" for n in range(TEXTS)]
    ts = "2026-11-22T05:17:00Z"
    predictions = [
        {"id": one, "ts": ts, "text": f"rooster {one} quite {n} otherwise {n}", "intent": "none"}
        | {"adapter": adapter}
        for n, one in enumerate(ids)
    ]
    feedback = [
        {"id": f"f-{one}", "prediction_id": one, "ts": ts, "verdict": "corrected", "intent": ALARM}
        for one in ids
    ]
    for route, rows in (("predictions", predictions), ("feedback", feedback)):
        lines = "\n".join(map(json.dumps, rows)).encode()
        assert client.post_lines(route, lines=lines).value["accepted"] == TEXTS


def health(client):
    return client.get("status").value["health"]


def settled(client):
    """Wait until the daemon answers and its champion was asked all that is labelled."""

    def done():
        with contextlib.suppress(DaemonUnreachable):
            return health(client)["pending"] == 0

    until(done)


def figures(client):
    row = next(row for row in client.get("intents").value if row["intent"] == ALARM)
    return {name: row[name] for name in ("adapter", "feedback", "errors", "state", "pending")}


def of(adapter, feedback, errors, state, pending=0):
    return {
        "adapter": adapter,
        "feedback": feedback,
        "errors": errors,
        "state": state,
        "pending": pending,
    }


def release(pipe):
    """Let the worker that is held go on, and hold no other."""
    with pipe.open("wb"):
        pipe.unlink()


def test_the_health_is_pending_until_the_new_champion_was_asked(story, folder):
    pipe = folder / "var" / "hold-predict"
    with running(folder, "later") as (_, client):
        settled(client)
        answer_wrongly(client, story.champion)
        assert figures(client) == of(story.champion, 2 * TEXTS, 2 * TEXTS, "failing")
        os.mkfifo(pipe)
        client.post("decisions", "d-3", "approve", value={"because": "looks right"})
        assert figures(client) == of(story.better, 0, 0, "unknown", 3 * TEXTS)
        told = health(client)
        assert (told["champion"], told["pending"] > TEXTS) == (story.better, True)
        asked = f"{told['pending']} labelled texts wait for the answer of {story.better}"
        assert told["waiting"] == f"{asked}: the daemon asks it by itself"
        release(pipe)
        settled(client)
        mended = of(story.better, TEXTS, 0, "unknown")  # and what it learned says nothing
        assert figures(client) == mended
        assert health(client)["waiting"] == ""
        os.mkfifo(pipe)
        client.post("rollback", value={"to": story.first, "because": "to see"})
        assert figures(client)["adapter"] == story.first
        assert figures(client)["errors"] == 0
        assert figures(client)["pending"] > 0
        release(pipe)
        settled(client)
        row = figures(client)
        assert (row["adapter"], row["state"]) == (story.first, "suspect")
        assert row["errors"] >= TEXTS
        assert not list((folder / "var" / "jobs").glob("anew-*"))


@pytest.mark.slow
def test_a_stop_ends_the_asking_and_the_next_start_asks(story, folder):
    pipe = folder / "var" / "hold-predict"
    with running(folder, "later") as (_, client):
        settled(client)
        answer_wrongly(client, story.champion)
        os.mkfifo(pipe)
        client.post("decisions", "d-3", "approve", value={"because": "looks right"})
        until(lambda: list((folder / "var" / "jobs").glob("anew-*/worker.json")))
    pipe.unlink()
    with running(folder, "later") as (_, client):
        settled(client)
        assert figures(client) == of(story.better, TEXTS, 0, "unknown")
