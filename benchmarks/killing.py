"""`kill -9` under load: is everything that was acknowledged there, and there once?

The daemon is the real one, forked from a process that has imported it already, so that many kills
fit into a minute. Clients send singles and batches over its socket, one line in five a repeat of
something sent before; what was not acknowledged is sent again after the restart. Mixed, a quarter
each are native predictions, feedback on them (often early), and records of OpenAI and Langfuse.

With `words` each client also gives samples and rejects decisions that wait. With `damage` DuckDB's
own log is deleted, cut, zeroed, overwritten or changed by a bit after every other kill: then all
that stands in no checkpoint comes from the redo log and the spool.

    python -m benchmarks.killing [--kills N] [--seed N]

The last line is JSON: the fields of `Survived`.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flywheel.records import Adapter, Decision
from flywheel.store import adapters, decisions, open_store, redo
from flywheel.unix_socket import UnixConnection

CONFIG = '[schedule]\ncron = ""\n[flywheel]\nlog_level = "error"\n'
INTENTS = '[[intent]]\nname = "set_alarm"\n[[intent]]\nname = "play_music"\n'
CLIENTS = 8
_PATIENCE_S = 60.0
_START_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Survived:
    """What a run of kills left behind."""

    kills: int
    damaged: int  # logs of DuckDB's that were damaged between a kill and a start
    words: int  # samples and rejections among what was acknowledged
    acknowledged: int  # different events
    lost: int  # acknowledged and not in the tables
    duplicates: int  # rows beyond the first of an id
    restart_s: float  # the slowest start to an answer
    differences: tuple[str, ...]  # between spool, tables and sums; segments that stay in the end


def survive(
    folder: Path,
    kills: int,
    *,
    seed: int = 0,
    load_s: float = 0.4,
    mixed: bool = False,
    words: int = 0,
    damage: bool = False,
) -> Survived:
    """Kill a daemon over `folder` again and again, and count what is there in the end.

    Args:
        folder: of the daemon.
        kills, seed, load_s: how many, by which chance, and the longest load between two.
        mixed: also feedback and records of others.
        words: decisions that wait; 0: no samples and no rejections are sent.
        damage: DuckDB's log is damaged after every other kill.
    """
    (folder / "config.toml").write_text(CONFIG, encoding="utf-8")
    (folder / "intents.toml").write_text(INTENTS, encoding="utf-8")
    chance = random.Random(seed)
    load = _Load(folder / "var" / "flywheel.sock", seed, mixed=mixed, words=words > 0)
    if words:
        _let_decisions_wait(folder, words)
    slowest, damaged = 0.0, 0
    for number in range(kills):
        with _daemon(folder) as started_s:
            slowest = max(slowest, started_s)
            load.run(chance.uniform(0.05, load_s), answered=number % 4 > 0)
        if damage and number % 2:
            damaged += damage_wal(folder / "var" / "flywheel.duckdb.wal", chance)
    load.settle()
    with _daemon(folder, kill=False):
        checked = json.loads(load.ask("GET", "/v1/check")[1])
    kept = [path.name for path in (folder / "var" / "spool").iterdir()]  # after a clean stop: none
    stored = _stored(folder / "var" / "flywheel.duckdb")
    return Survived(
        kills=kills,
        damaged=damaged,
        words=sum(key.startswith(("sample ", "rejected ")) for key in load.acknowledged),
        acknowledged=len(load.acknowledged),
        lost=len(load.acknowledged - set(stored)),
        duplicates=len(stored) - len(set(stored)),
        restart_s=slowest,
        differences=(*checked["problems"], *kept),
    )


class _Load:
    """Clients that remember what was acknowledged."""

    def __init__(self, path: Path, seed: int, *, mixed: bool, words: bool) -> None:
        self._path = path
        self._mixed = mixed
        self._words = words
        self._lock = threading.Lock()
        self._next = 0
        self._chance = random.Random(seed)
        self._unsure: list[int] = []  # sent, and not acknowledged
        self.acknowledged: set[str] = set()
        self._clients: list[threading.Thread] = []
        self._answered = threading.Event()

    def run(self, seconds: float, *, answered: bool) -> None:
        """Send for so long; the clients go on until the kill breaks their connections.

        Args:
            seconds: from the start or, where `answered`, from the first acknowledgement: a busy
                machine may give none in so short a time.
        """
        self.settle()
        self._answered.clear()
        self._clients = [threading.Thread(target=self._client, daemon=True) for _ in range(CLIENTS)]
        for client in self._clients:
            client.start()
        if answered:
            self._answered.wait(_PATIENCE_S)
        time.sleep(seconds)

    def settle(self) -> None:
        """Wait for the clients of the last run: they end with their connections."""
        for client in self._clients:
            client.join()

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """One request on a connection of its own; returns the status and the answer."""
        with contextlib.closing(UnixConnection(self._path, 30.0)) as connection:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def _client(self) -> None:
        """Send until the connection breaks, which is how this client learns of the kill."""
        numbers: list[int] = []
        try:
            with contextlib.closing(UnixConnection(self._path, 30.0)) as connection:
                while True:
                    numbers = self._numbers()
                    asked = _events(numbers, mixed=self._mixed)
                    if self._words:
                        asked = _words(numbers[0]) | asked
                    for route, events in asked.items():
                        body = b"\n".join(json.dumps(one).encode() for one in events.values())
                        connection.request("POST", f"/v1/{route}", body)
                        answer = connection.getresponse()
                        answer.read()
                        if answer.status == 200:
                            with self._lock:
                                self.acknowledged.update(events)
                            self._answered.set()
        except (OSError, http.client.HTTPException):
            with self._lock:
                self._unsure += numbers

    def _numbers(self) -> list[int]:
        """New numbers, those that were not acknowledged, and one in five a repeat."""
        with self._lock:
            size = self._chance.choice([1, 1, 5, 50])
            again, self._unsure = self._unsure[:size], self._unsure[size:]
            fresh = list(range(self._next, self._next + size))
            self._next += size
            repeats = [self._chance.randrange(self._next) for _ in range(size // 5)]
            return again + fresh + repeats


def _events(numbers: list[int], *, mixed: bool) -> dict[str, dict[str, dict[str, Any]]]:
    """Events by the id that they are stored under, by route."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for n in numbers:
        route, key, event = _FORMS[n % len(_FORMS) if mixed else 0](n)
        found.setdefault(route, {})[key] = event
    return found


def _native(n: int) -> tuple[str, str, dict[str, Any]]:
    said = {"ts": "2026-11-22T05:17:00Z", "text": f"text {n}", "intent": "set_alarm"}
    return "predictions", f"p-{n}", {"id": f"p-{n}", **said}


def _verdict(n: int) -> tuple[str, str, dict[str, Any]]:
    """On the native prediction just before, or, every other one, on one that comes later."""
    about = {"prediction_id": f"p-{n + 3 if n % 8 < 4 else n - 1}", "ts": "2026-11-22T06:17:00Z"}
    said = {"verdict": "corrected", "intent": "play_music", "rater": f"u-{n % 7}"}
    return "feedback", f"f-{n}", {"id": f"f-{n}", **about, **said}


def _openai(n: int) -> tuple[str, str, dict[str, Any]]:
    call = {"name": "set_alarm", "arguments": json.dumps({"time": str(n)})}
    said = {"role": "assistant", "tool_calls": [{"type": "function", "function": call}]}
    reply = {"id": f"o-{n}", "created": 1795324621, "choices": [{"message": said}]}
    asked = {"model": "m", "messages": [{"role": "user", "content": f"text {n}"}]}
    return "predictions", f"o-{n}", {"request": asked, "response": reply}


def _langfuse(n: int) -> tuple[str, str, dict[str, Any]]:
    when = {"startTime": "2026-11-22T05:17:00Z", "model": "m"}
    said = {"type": "GENERATION", "input": f"text {n}", "output": "No."}
    return "predictions", f"t:{n}", {"id": f"{n}", "traceId": "t", **when, **said}


def _words(n: int) -> dict[str, dict[str, dict[str, Any]]]:
    """A sample and the rejection of a decision, as `_events`; one that is not there is refused."""
    row = {"text": f"sample {n}", "intent": "set_alarm", "split": "train"}
    name = f"d-{n + 1}"
    return {
        "samples": {f"sample {n}": row},
        f"decisions/{name}/reject": {f"rejected {name}": {"because": f"number {n}"}},
    }


def _let_decisions_wait(folder: Path, count: int) -> None:
    """Put decisions that wait for a person into a new database."""
    at = datetime(2026, 11, 22, tzinfo=UTC)
    known = Adapter(
        id="production",
        base="b",
        recipe="r",
        dataset="d",
        parent=None,
        created_at=at,
        state="external",
    )
    path, log = folder / "var" / "flywheel.duckdb", folder / "var" / redo.FOLDER
    path.parent.mkdir()
    with contextlib.closing(open_store(path, redo_folder=log)) as store, store.write() as con:
        adapters.add(con, known)
        for n in range(1, count + 1):
            waits = Decision(
                id=f"d-{n}",
                turn=None,
                challenger=known.id,
                champion=None,
                verdict="rollback",
                status="pending",
                by="gates",
                because="undecided",
                at=at,
            )
            decisions.add(con, waits)


def damage_wal(wal: Path, chance: random.Random) -> bool:
    """Delete, cut, zero, overwrite or change DuckDB's log; False where there is none."""
    if not wal.exists() or not (size := wal.stat().st_size):
        return False
    kind = chance.randrange(5)
    if kind == 0:
        wal.unlink()
    elif kind == 1:
        os.truncate(wal, chance.randrange(size))
    elif kind == 2:
        wal.write_bytes(bytes(size))
    elif kind == 3:
        wal.write_bytes(chance.randbytes(size))
    else:
        data = bytearray(wal.read_bytes())
        data[chance.randrange(size)] ^= 1 << chance.randrange(8)
        wal.write_bytes(data)
    return True


_FORMS = (_native, _verdict, _openai, _langfuse)


@contextlib.contextmanager
def _daemon(folder: Path, *, kill: bool = True) -> Iterator[float]:
    """A daemon, killed with SIGKILL at the end; gives the seconds until it answered."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["flywheel.daemon", "benchmarks.killing"])
    began = time.monotonic()
    process = context.Process(target=run_daemon, args=(folder,), daemon=True)
    process.start()
    try:
        wait_for(folder / "var" / "flywheel.sock", process)
        yield time.monotonic() - began
        (process.kill if kill else process.terminate)()
        process.join(60)
    finally:
        process.kill()
        process.join()


def run_daemon(folder: Path) -> None:
    """The daemon itself, until it is told to end."""
    from flywheel.daemon import run

    raise SystemExit(run(folder / "config.toml", once=False))


def wait_for(path: Path, process: Any) -> None:
    """Wait until the daemon behind this socket answers."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(UnixConnection(path, 5.0)) as connection,
        ):
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        if not process.is_alive():
            raise RuntimeError(f"the daemon ended by itself with {process.exitcode}")
        time.sleep(0.02)
    raise RuntimeError("the daemon did not answer")


def _stored(path: Path) -> list[str]:
    everything = """
        SELECT id FROM predictions UNION ALL SELECT id FROM feedback
        UNION ALL SELECT text FROM samples
        UNION ALL SELECT 'rejected ' || decision FROM decision_events WHERE status = 'rejected'
    """
    with contextlib.closing(open_store(path)) as store, store.read() as con:
        return [key for (key,) in con.execute(everything).fetchall()]


def main() -> int:
    """Kill as often as asked, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place, words = Path(folder), 20 * asked.kills
        survived = survive(
            place, asked.kills, seed=asked.seed, mixed=True, words=words, damage=True
        )
    print(json.dumps(asdict(survived)))
    return 0 if (survived.lost, survived.duplicates, survived.differences) == (0, 0, ()) else 1


if __name__ == "__main__":
    sys.exit(main())
