"""Does anything get lost or grow while both processes answer, learn, promote, and are killed?

    python benchmarks/soak.py [--quick] [--minutes N] [--seed N] [--data DIR]

A real daemon and a real `flywheel serve` ([serving] kind "local") answer clients for an hour, or
three minutes: predictions in three forms, feedback on some, turns one after the other, champions
changed to and fro. In the first half either process is killed by SIGKILL again and again and
started anew at once, as systemd would; in the second half none is, and memory and open files are
watched. In the end every answer that a client got, and all feedback that was acknowledged, has to
be in the database once. The last line is one JSON object: minutes, kills, lost, duplicates, and
the slopes of the process whose slope is larger. Of three minutes the slopes say little: both
processes are still warming up.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import serving_world as world
from partition import Partition
from serving_world import RunningServer, say

from flywheel.errors import FlywheelError
from flywheel.unix_socket import UnixConnection

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "clinc150"
CLIENTS = 3
_PAUSE_S = 0.04  # between two requests of a client: training has to have some of the machine
_LOOK_S = 2.0
_DELIVERED_S = 600.0


def main() -> int:
    """Run it; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    rows = world.dealt(asked.data, asked.seed, quick=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        found = Soak(Path(place), rows, asked).run()
    print(json.dumps({"benchmark": "soak", "quick": asked.quick, **found}))
    return 0


@dataclass(slots=True)
class Given:
    """What clients were answered."""

    answers: set[str] = field(default_factory=set)
    feedback: set[str] = field(default_factory=set)
    refused: int = 0  # requests that a process which was killed did not answer
    odd: list[str] = field(default_factory=list)  # answers that are neither
    lock: threading.Lock = field(default_factory=threading.Lock)


class Soak:
    """One daemon, one server, and everybody who uses them."""

    def __init__(self, place: Path, rows: Partition, asked: argparse.Namespace) -> None:
        self._rows = rows
        self._texts = [row.text for row in rows.test]
        self._minutes = asked.minutes
        self._daemon = world.daemon_of(place, rows.intents, parity_texts=40)
        self._server = RunningServer(place)
        self._chance = random.Random(asked.seed)
        self._given = Given()
        self._ending = threading.Event()
        self._died = ""
        self._kills = self._turns = self._swaps = 0
        self._seen: dict[str, list[tuple[float, float, float]]] = {"daemon": [], "server": []}

    def run(self) -> dict[str, Any]:
        """Set up, soak, stop, count."""
        with self._daemon, self._server:
            adapters = [world.first_champion(self._daemon, self._rows)]
            adapters.append(world.second_adapter(self._daemon))
            say(f"{adapters} were trained; {self._minutes} minutes begin")
            began = time.monotonic()
            threads = [self._thread(self._client, n) for n in range(CLIENTS)]
            threads += [self._thread(self._learn), self._thread(self._promote, adapters)]
            for each in threads:
                each.start()
            try:
                self._kill_until(began + 30 * self._minutes)
                self._watch_until(began + 60 * self._minutes)
            finally:
                self._ending.set()
                for each in threads:
                    each.join()
            self._delivered()
        if self._died:
            raise RuntimeError(f"nobody used it to the end: {self._died}")
        return self._figures()

    def _thread(self, what: Callable[..., None], *given: Any) -> threading.Thread:
        """A thread whose end before its time is told at once, and fails the run."""

        def lives() -> None:
            try:
                what(*given)
            except Exception as error:
                self._died = f"{what.__name__}: {error!r}"
                self._ending.set()
                raise

        return threading.Thread(target=lives)

    # Who uses it.

    def _client(self, number: int) -> None:
        """Ask again and again, in each form in turn, and say of some answers how they were."""
        chance = random.Random(f"{number} {self._chance.random()}")
        connection: http.client.HTTPConnection | None = None
        for count in range(10**9):
            if self._ending.is_set():
                break
            name, path, body = _request(number, count, chance.choice(self._texts))
            connection, answer = self._exchange(connection, path, body)
            if answer is not None:
                given = name or str(answer["id"])
                with self._given.lock:
                    self._given.answers.add(given)
                if chance.random() < 0.2:
                    connection = self._rate(connection, given, chance)
            time.sleep(_PAUSE_S)

    def _rate(
        self, connection: http.client.HTTPConnection | None, given: str, chance: random.Random
    ) -> http.client.HTTPConnection | None:
        verdict: dict[str, Any] = {"verdict": "correct"}
        if chance.random() < 0.3:
            verdict = {"verdict": "corrected", "intent": chance.choice(self._rows.intents)}
        name = f"f-{given}"
        when = {"ts": _now(), "rater": f"u-{chance.randrange(50)}"}
        body = {"id": name, "prediction_id": given, **when, **verdict}
        connection, answer = self._exchange(connection, "/v1/feedback", body)
        if answer is not None:
            with self._given.lock:
                self._given.feedback.add(name)
        return connection

    def _exchange(
        self, connection: http.client.HTTPConnection | None, path: str, body: Mapping[str, Any]
    ) -> tuple[http.client.HTTPConnection | None, Any]:
        """One request to the server; the answer is None where there was none."""
        connection = connection or UnixConnection(self._server.socket, 60.0)
        try:
            sent = json.dumps(body).encode()
            connection.request("POST", path, sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            with self._given.lock:
                self._given.refused += 1
            time.sleep(0.1)
            return None, None
        if answer.status in (200, 202):
            return connection, json.loads(said)
        with self._given.lock:
            self._given.odd.append(f"{path} {answer.status} {said[:200]!r}")
        time.sleep(0.1)
        return connection, None

    def _learn(self) -> None:
        """Open a turn whenever none is open; decisions that wait for a person are rejected."""
        while not self._ending.wait(5.0):
            with contextlib.suppress(FlywheelError, OSError, KeyError):
                if self._daemon.get("status")["turn"] is None:
                    self._daemon.start_turn()
                    self._turns += 1
                for decision in self._daemon.get("status")["backlog"]["held"]:
                    self._daemon.post("decisions", decision, "reject", because="a soak")

    def _promote(self, adapters: Sequence[str]) -> None:
        """Change the champion to and fro."""
        while not self._ending.wait(8.0):
            with contextlib.suppress(FlywheelError, OSError, KeyError):
                champion = self._daemon.get("status")["champion"]
                other = next(name for name in adapters if name != champion)
                world.roll_back(self._daemon, other)
                self._swaps += 1

    # What happens to it.

    def _kill_until(self, until: float) -> None:
        while time.monotonic() < until and not self._ending.is_set():
            self._ending.wait(self._chance.uniform(5, 15))
            killed = self._chance.choice((self._daemon, self._server))
            killed.kill()
            killed.__enter__()
            self._kills += 1
            if self._kills % 10 == 0:
                say(f"{self._kills} kills, {len(self._given.answers)} answers")

    def _watch_until(self, until: float) -> None:
        say(f"{self._kills} kills; from here on none, memory is watched")
        began = time.monotonic()
        warm = began + 0.2 * (until - began)
        while time.monotonic() < until and not self._ending.is_set():
            for name, pid in (("daemon", self._daemon.pid), ("server", self._server.pid)):
                if time.monotonic() >= warm:
                    self._seen[name].append((time.monotonic() - began, *_size(pid)))
            self._ending.wait(_LOOK_S)

    def _delivered(self) -> None:
        """Wait until the daemon has all answers, and has loaded them."""
        until = time.monotonic() + _DELIVERED_S
        while self._server.ask("GET", "/v1/serving")[1]["log"]["bytes"]:
            if time.monotonic() > until:
                say(f"not delivered: {self._server.ask('GET', '/v1/serving')}")
                return
            time.sleep(0.2)
        self._daemon.get("status")  # loads what was acknowledged before it

    # What came of it.

    def _figures(self) -> dict[str, Any]:
        from flywheel.store import open_store

        store = open_store(self._daemon.state_dir / "flywheel.duckdb")
        try:
            with store.read() as con:
                rows = [
                    [key for (key,) in con.execute(f"SELECT id FROM {table}").fetchall()]
                    for table in ("predictions", "feedback")
                ]
        finally:
            store.close()
        given = (self._given.answers, self._given.feedback)
        for kind, keys, there in zip(("answers", "feedback"), given, rows, strict=True):
            say(f"{kind}: {len(keys)} given, {len(there)} stored, {len(keys - set(there))} lost")
        for line in self._given.odd[:10]:
            say(f"odd: {line}")
        slopes = {name: _slopes(seen) for name, seen in self._seen.items()}
        say(f"slopes (MB an hour, files an hour): {slopes}")
        return {
            "minutes": self._minutes,
            "kills": self._kills,
            "lost": sum(len(k - set(t)) for k, t in zip(given, rows, strict=True)),
            "duplicates": sum(len(there) - len(set(there)) for there in rows),
            "rss_slope_mb_per_h": round(max(rss for rss, _ in slopes.values()), 1),
            "fd_slope": round(max(files for _, files in slopes.values()), 1),
            "answers": len(self._given.answers),
            "feedback": len(self._given.feedback),
            "unanswered": self._given.refused,
            "odd": len(self._given.odd),
            "turns": self._turns,
            "swaps": self._swaps,
        }


def _request(client: int, count: int, text: str) -> tuple[str, str, dict[str, Any]]:
    """The id that the caller gave, "" for none; path; body."""
    name = f"s-{client}-{count}"
    if count % 3 == 0:
        return name, "/v1/predict", {"text": text, "id": name, "session": f"c-{client}"}
    if count % 3 == 1:
        return "", "/v1/predict", {"text": text}
    return (
        "",
        "/v1/chat/completions",
        {
            "model": "champion",
            "messages": [{"role": "user", "content": text}],
        },
    )


def _size(pid: int) -> tuple[float, float]:
    """Resident megabytes, and open files."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, float(files)


def _slopes(seen: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Least squares of megabytes and of open files over hours."""
    return tuple(_slope([(at / 3600, row[n]) for at, *row in seen]) for n in (0, 1))  # type: ignore[return-value]


def _slope(points: Sequence[tuple[float, float]]) -> float:
    if len(points) < 3:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three minutes")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of train.jsonl, test.jsonl")
    asked = parser.parse_args()
    asked.minutes = asked.minutes or (3.0 if asked.quick else 60.0)
    return asked


if __name__ == "__main__":
    sys.exit(main())
