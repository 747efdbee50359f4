"""Simulated production: seeded utterances, the champion's answers over HTTP, and user feedback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import httpx

from flywheel.demo.grammar import Utterance, grammar
from flywheel.errors import DaemonUnreachable, FlywheelError
from flywheel.executors.local import LocalExecutor
from flywheel.records import NONE
from flywheel.turn.jobs import Jobs

WEIGHTS: Mapping[str, float] = {
    "set_alarm": 12,
    "set_timer": 14,
    "play_music": 15,
    "play_podcast": 12,
    "send_message": 14,
    "call_contact": 10,
    "get_weather": 12,
    "set_thermostat": 10,
    "none": 3,
}
"""Relative frequency of each intent in the traffic."""

HARD: Mapping[str, Mapping[str, float]] = {
    "en": {
        "set_alarm": 0.05,
        "set_timer": 0.50,
        "play_music": 0.05,
        "play_podcast": 0.50,
        "send_message": 0.20,
        "call_contact": 0.05,
        "get_weather": 0.05,
        "set_thermostat": 0.05,
        "none": 0.10,
    },
    "zh": {
        "set_alarm": 0.05,
        "set_timer": 0.10,
        "play_music": 0.05,
        "play_podcast": 0.70,
        "send_message": 0.40,
        "call_contact": 0.05,
        "get_weather": 0.05,
        "set_thermostat": 0.05,
        "none": 0.10,
    },
}
"""By language and intent: share of utterances that are worded like another intent's, 0..1."""

_READY_S = 60.0
_STOP_S = 20.0
_ASK_AGAIN_S = 0.2
_USERS = 50
_REQUEST_TEXTS = 50  # asked at once


def stream(
    count: int,
    seed: int,
    weights: Mapping[str, float] = WEIGHTS,
    language: str = "en",
) -> tuple[Utterance, ...]:
    """Return `count` utterances in order of time, with repetitions.

    Args:
        count: number of utterances, not of distinct ones.
        seed: the same seed, weights and language give the same stream.
        weights: relative frequency by intent; an absent intent does not occur.
        language: one of `grammar.STARTERS`.
    """
    said = grammar(language)
    chance = Random(seed)  # noqa: S311  reproducible traffic, no secret
    names = [name for name in said.intents() if weights.get(name, 0) > 0]
    intents_drawn = chance.choices(names, [weights[name] for name in names], k=count)
    return tuple(said.draw(chance, name, HARD[language].get(name, 0.0)) for name in intents_drawn)


class DemoClient:
    """Client of a process's HTTP interface on its Unix socket, `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        transport = httpx.HTTPTransport(uds=str(path))
        self._http = httpx.Client(transport=transport, base_url="http://flywheel", timeout=60.0)

    def get(self, route: str) -> Any:
        """Return the JSON of a route."""
        return self._read(self._http.get(route))

    def post(self, route: str, rows: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> Any:
        """Send one JSON object, or several as NDJSON."""
        if isinstance(rows, Mapping):
            return self._read(self._http.post(route, json=rows))
        body = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        return self._read(
            self._http.post(
                route, content=body.encode(), headers={"content-type": "application/x-ndjson"}
            )
        )

    def ready(self) -> bool:
        """Whether the process answers."""
        with socket.socket(socket.AF_UNIX) as door:  # httpx leaks a socket that refuses connections
            try:
                door.connect(str(self.path))
            except OSError:
                return False
        try:
            return self._http.get("/healthz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _read(self, response: httpx.Response) -> Any:
        body = response.json()
        if response.is_error:
            raise FlywheelError(body.get("error", response.reason_phrase), body.get("hint", ""))
        return body


@contextmanager
def running(config: Path, command: str, listening_on: Path) -> Iterator[DemoClient]:
    """Start `flywheel run` or `serve` as a child process, wait for it, and stop it at the end.

    Raises:
        DaemonUnreachable: it ended, or did not answer in time; the hint has the end of its log.
    """
    log = config.parent / f"{command}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flywheel", "--config", str(config), command],
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C reaches the demo, which stops the child in order
        )
    client = DemoClient(listening_on)
    try:
        deadline = time.monotonic() + _READY_S
        while not client.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise DaemonUnreachable(f"`flywheel {command}` did not start", hint=_tail(log))
            time.sleep(_ASK_AGAIN_S)
        yield client
    finally:
        client.close()
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if command == "run":
            _end_workers(listening_on.parent / "jobs")


def _end_workers(jobs: Path) -> None:
    """End workers, which outlive their daemon so that the next one finds them."""
    worker_jobs = Jobs(LocalExecutor(jobs), jobs)
    for folder in jobs.glob("*/"):
        worker_jobs.cancel(folder.name)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])


@dataclass(frozen=True, slots=True)
class Answered:
    """An utterance and the champion's answer."""

    said: Utterance
    intent: str


class Production:
    """The simulated assistant: it asks `flywheel serve`, which tells the daemon of each answer."""

    def __init__(self, client: DemoClient, server: DemoClient, seed: int) -> None:
        self._client = client
        self._server = server
        self._chance = Random(seed)  # noqa: S311  reproducible, no secret

    def answer(self, utterances: Sequence[Utterance], key: str) -> list[Answered]:
        """Have the utterances answered; returns once the daemon has every answer."""
        answered: list[Answered] = []
        for start in range(0, len(utterances), _REQUEST_TEXTS):
            part = utterances[start : start + _REQUEST_TEXTS]
            inputs = [
                {"id": f"p-{key}-{start + n}", "text": one.text, "slices": {"channel": "voice"}}
                for n, one in enumerate(part)
            ]
            said = self._server.post("/v1/predict", {"inputs": inputs})["predictions"]
            answered += [
                Answered(one, each["intent"]) for one, each in zip(part, said, strict=True)
            ]
        self._delivered(len(answered))
        return answered

    def correct(self, prediction: str, intent: str) -> None:
        """A user says what was meant."""
        said = {"verdict": "corrected", "intent": intent}
        name = {"id": f"f-{prediction}", "prediction_id": prediction, "ts": _now()}
        self._server.post("/v1/feedback", {**name, **said, "rater": "u-0", "rater_kind": "user"})

    def _delivered(self, count: int) -> None:
        """Wait until so many predictions are stored."""
        deadline = time.monotonic() + _READY_S
        while self._client.get("/v1/status")["backlog"]["predictions"] < count:
            if time.monotonic() > deadline:
                log = self._server.get("/v1/serving")["log"]
                raise FlywheelError("the daemon does not get the server's answers", hint=str(log))
            time.sleep(_ASK_AGAIN_S)

    def rate(
        self, answered: Sequence[Answered], key: str, *, share: float, wrong: float
    ) -> tuple[int, int]:
        """Send feedback on a share of the answers, part of it wrong; return both counts."""
        names = sorted({row.said.intent for row in answered} | {NONE})
        rows: list[dict[str, Any]] = []
        mistaken = 0
        for number, row in enumerate(answered):
            if self._chance.random() > share:
                continue
            claimed = row.said.intent
            if self._chance.random() < wrong:
                claimed = self._chance.choice([name for name in names if name != claimed])
                mistaken += 1
            rater = f"u-{number % _USERS}"
            rows.append(_verdict(f"{key}-{number}", row.intent, claimed, rater))
        self._client.post("/v1/feedback", rows)
        return len(rows), mistaken


def _verdict(key: str, predicted: str, claimed: str, rater: str) -> dict[str, Any]:
    judged = (
        {"verdict": "correct"}
        if claimed == predicted
        else {"verdict": "corrected", "intent": claimed}
    )
    return {
        "id": f"f-{key}",
        "prediction_id": f"p-{key}",
        "ts": _now(),
        "rater": rater,
        "rater_kind": "user",
        **judged,
    }


def _now() -> str:
    return datetime.now(tz=UTC).isoformat()
