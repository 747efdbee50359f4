"""Backups that were damaged or edited, restored into a real daemon: does it die, is it fooled?

A backup of a database with turns, decisions and two champions is changed in one place: bytes of its
header, its metadata and its blocks, with the checksums of DuckDB as they were or made right again;
truncated, extended, pages and blocks zeroed, swapped or repeated; rows, views, macros, defaults and
tables changed by DuckDB itself; much packed into little. Each is sent to `POST /v1/restore`.

    python benchmarks/restore_fuzz.py [--quick] [--seeds N]

`deaths`: the daemon ended, or did not come back. `silent`: it took a file whose rows or objects are
not those of the backup, and named no problem. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import random
import shutil
import struct
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from daemon_harness import RunningDaemon

from flywheel.errors import DaemonUnreachable, FlywheelError
from flywheel.store import catalog, schema

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / "tests" / "turn" / "version11.tar.gz"  # two turns, three decisions, two champions
CONFIG = (
    '[intents]\nfile = "intents.json"\n[schedule]\ncron = ""\n[flywheel]\nlog_level = "error"\n'
)
BYTES, QUICK_BYTES = 200, 24  # mutations of bytes for each seed
_HEADERS, _PAGE, _BLOCK = 12288, 4096, 262144
_FACTOR = np.uint64(0xBF58476D1CE4E5B9)  # of DuckDB's checksum: words times this, combined by xor
_BACK_S = 120.0
_MOVES = frozenset({"heartbeat", "decision_events", "daily", "daily_labels"})  # compared otherwise


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed backup, by what was done to it."""

    name: str
    content: bytes


def checksum(words: bytes) -> int:
    """DuckDB's checksum of a block without its first eight bytes."""
    return int(np.bitwise_xor.reduce(np.frombuffer(words, dtype="<u8") * _FACTOR)) ^ 5381


def reseal(content: bytearray, place: int) -> None:
    """Make the checksum of the header or block right that holds `place`."""
    size = _PAGE if place < _HEADERS else _BLOCK
    base = 0 if place < _HEADERS else _HEADERS
    start = base + (place - base) // size * size
    if start + size <= len(content):
        words = bytes(content[start + 8 : start + size])
        content[start : start + 8] = struct.pack("<Q", checksum(words))


# Mutations of bytes; each takes the file and a source of randomness.


def _flipped(content: bytearray, chance: random.Random, used: list[int]) -> str:
    """Change bytes that are not zero; half of the times the checksum is made right again."""
    count, right = chance.choice((1, 1, 4, 64)), chance.random() < 0.6
    for _ in range(count):
        place = chance.choice(used)
        content[place] ^= chance.randrange(1, 256)
        if right:
            reseal(content, place)
    return f"{count} bytes changed{', checksum right' if right else ''}"


def _header(content: bytearray, chance: random.Random, _: list[int]) -> str:
    place = chance.randrange(3) * _PAGE + chance.randrange(8, 96)
    content[place] ^= chance.randrange(1, 256)
    if right := chance.random() < 0.7:
        reseal(content, place)
    return f"header byte {place}{', checksum right' if right else ''}"


def _old_header(content: bytearray, chance: random.Random, _: list[int]) -> str:
    first, second = (slice(_PAGE, 2 * _PAGE), slice(2 * _PAGE, 3 * _PAGE))
    here, there = chance.choice(((first, second), (second, first)))
    content[there] = content[here]
    return f"header {here.start // _PAGE} over the other"


def _zeroed(content: bytearray, chance: random.Random, _: list[int]) -> str:
    size = chance.choice((_PAGE, _BLOCK))
    place = _HEADERS + chance.randrange((len(content) - _HEADERS) // size) * size
    content[place : place + size] = bytes(size)
    if right := chance.random() < 0.5:
        reseal(content, place)
    return f"{size} zeros at {place}{', checksum right' if right else ''}"


def _swapped(content: bytearray, chance: random.Random, _: list[int]) -> str:
    size = chance.choice((_PAGE, _BLOCK))
    base = 0 if size == _PAGE else _HEADERS
    places = [base + chance.randrange((len(content) - base) // size) * size for _ in "ab"]
    one, other = (slice(place, place + size) for place in places)
    content[one], content[other] = content[other], content[one]
    return f"{size} bytes at {places[0]} and {places[1]} swapped"


def _cut(content: bytearray, chance: random.Random, _: list[int]) -> str:
    del content[chance.choice((chance.randrange(len(content)), chance.randrange(3 * _PAGE))) :]
    return f"cut at {len(content)}"


def _extended(content: bytearray, chance: random.Random, _: list[int]) -> str:
    more = chance.choice((chance.randbytes(chance.randrange(1, 1 << 20)), bytes(_BLOCK)))
    content += more
    return f"extended by {len(more)}"


_OF_BYTES = (_flipped, _flipped, _flipped, _header, _old_header, _zeroed, _swapped, _cut, _extended)


def of_bytes(whole: bytes, chance: random.Random, number: int) -> Iterator[Mutant]:
    """Mutations that know nothing of tables."""
    used = [place for place in range(len(whole)) if whole[place]]
    for _ in range(number):
        content = bytearray(whole)
        name = chance.choice(_OF_BYTES)(content, chance, used)
        yield Mutant(name, bytes(content))


# Edits by DuckDB itself.

_OBJECTS = (
    "CREATE OR REPLACE VIEW labelled AS SELECT * FROM labelled_since(now()::TIMESTAMP)",
    "DROP VIEW labels_standing",
    "CREATE OR REPLACE MACRO standing_predictions() AS TABLE SELECT * FROM predictions LIMIT 0",
    "CREATE OR REPLACE MACRO truth_of(verdict, predicted, intent) AS predicted",
    "CREATE MACRO date_trunc(part, day) AS day",
    "CREATE MACRO sha256(words) AS 'x'",
    "CREATE MACRO hash(words) AS 1",
    "CREATE TABLE notes (text VARCHAR); INSERT INTO notes VALUES ('mine')",
    "CREATE VIEW mine AS SELECT 1 AS one",
    "CREATE TYPE mood AS ENUM ('good', 'bad')",
    "CREATE SEQUENCE counter",
    "CREATE INDEX quick ON predictions (id)",
    "ALTER TABLE predictions ALTER malformed SET DEFAULT true",
    "ALTER TABLE adapters ALTER files SET DEFAULT 'x'",
    "ALTER TABLE champions ALTER adapter SET NOT NULL",
    "ALTER TABLE feedback ADD COLUMN mine INTEGER",
    "ALTER TABLE feedback DROP COLUMN score",
    "DROP TABLE disputes",
    "COMMENT ON TABLE schema_version IS NULL; "
    "CREATE OR REPLACE VIEW labelled AS SELECT * FROM labelled_since(now()::TIMESTAMP)",
    "DELETE FROM schema_version WHERE version > 5",
    "INSERT INTO schema_version VALUES (999, 'of tomorrow')",
    "CREATE TABLE bomb AS SELECT 0 AS zero FROM range(400000000)",
    "INSERT INTO rejected BY NAME SELECT '' AS kind FROM range(30000000)",
    "INSERT INTO rejected BY NAME SELECT repeat('x', 2000000) AS raw FROM range(1500)",
)
_LAST_EVENT = "DELETE FROM decision_events WHERE number = (SELECT max(number) FROM decision_events)"
_FORGED = (
    "UPDATE champions SET adapter = (SELECT min(adapter) FROM champions)",
    "UPDATE champions SET number = 7 - number",
    "DELETE FROM champions",
    "INSERT INTO champions SELECT number + 1, adapter, NULL, since FROM champions LIMIT 1",
    "UPDATE adapters SET state = 'external'",
    "UPDATE decisions SET verdict = 'promote'",
    "UPDATE decision_events SET actor = 'somebody'",
    "INSERT INTO decision_events SELECT number + 100, decision, what, status, actor, because, "
    "happened_at, previous, hash FROM decision_events WHERE status = 'applied'",
    f"{_LAST_EVENT}; UPDATE samples SET text = text || ' please'",
    f"{_LAST_EVENT}; DELETE FROM golden_queries",
    f"{_LAST_EVENT}; DELETE FROM feedback",
)


def edits(whole: Path) -> list[str]:
    """SQL that changes objects, rows of every table, or what was decided."""
    found = [*_OBJECTS, *_FORGED]
    with contextlib.closing(duckdb.connect(str(whole), read_only=True)) as con:
        for kind, name in catalog.shipped(len(schema.shipped())):
            if kind != "table" or name == "heartbeat":
                continue
            (count,) = con.execute(f"SELECT count(*) FROM {name}").fetchone() or (0,)
            (column,) = con.execute(
                "SELECT column_name FROM duckdb_columns() WHERE table_name = ? "
                "AND data_type = 'VARCHAR' UNION ALL SELECT 'number' LIMIT 1",
                [name],
            ).fetchone() or ("",)
            if not count:
                found.append(f"INSERT INTO {name} BY NAME SELECT NULL AS {column}")
                continue
            found.append(f"DELETE FROM {name} WHERE rowid = (SELECT min(rowid) FROM {name})")
            found.append(f"INSERT INTO {name} SELECT * FROM {name} LIMIT 1")
            found.append(f"UPDATE {name} SET {column} = NULL WHERE rowid % 2 = 0")
    return found


def by_duckdb(whole: bytes, folder: Path, statements: list[str]) -> Iterator[Mutant]:
    """The backup after each statement; one that DuckDB refuses is left out."""
    path = folder / "edited.duckdb"
    for sql in statements:
        path.write_bytes(whole)
        try:
            with contextlib.closing(duckdb.connect(str(path))) as con:
                con.execute(sql)
        except duckdb.Error:
            continue
        yield Mutant(sql, path.read_bytes())
    path.unlink(missing_ok=True)


def others() -> Iterator[Mutant]:
    """Files that are no database."""
    for name, content in (
        ("empty", b""),
        ("text", b"nonsense" * 4096),
        ("zeros", bytes(1 << 20)),
        ("a head alone", b"\0" * 8 + b"DUCK" + bytes(_HEADERS)),
        ("gzip", b"\x1f\x8b\x08" + bytes(1 << 16)),
    ):
        yield Mutant(name, content)


# What came of it.


def content_of(path: Path, events: int) -> Mapping[str, object]:
    """Rows of each table, in any order, and every object; of the log its first events.

    What the restored daemon does by itself is left out: later events, merged sums, its pulse.
    """
    with contextlib.closing(duckdb.connect(str(path), read_only=True)) as con:
        found: dict[str, object] = {" ".join(key): sql for key, sql in catalog.objects(con).items()}
        names = [
            name for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        ]
        for name in sorted(set(names) - _MOVES):
            sql = f"SELECT count(*), sum(hash(r)), sum(hash(r, 1)) FROM {name} AS r"
            found[f"rows of {name}"] = con.execute(sql).fetchone()
        sql = "SELECT sum(hash(r)) FROM decision_events AS r WHERE number <= ?"
        found["events"] = con.execute(sql, [events]).fetchone()
        for name, number in (("daily", "predictions"), ("daily_labels", "labels")):
            sql = f"SELECT * EXCLUDE {number}, sum({number}) AS n FROM {name} GROUP BY ALL"
            sums = f"SELECT sum(hash(r)) FROM ({sql}) AS r"
            found[f"sums of {name}"] = con.execute(sums).fetchone()
        return found


class Target:
    """The daemon, and the backup that everything is a mutation of."""

    def __init__(self, folder: Path) -> None:
        with tarfile.open(STATE) as packed:
            packed.extractall(folder / "daemon", filter="data")
        self.folder = folder
        self.daemon = RunningDaemon(folder / "daemon", CONFIG, ["set_alarm", "set_timer"])

    def back_up(self, to: Path) -> bytes:
        """A backup of what the daemon has now."""
        with to.open("wb") as file:
            for _, _, part in self.daemon._client.download("backup"):
                file.write(part)
        return to.read_bytes()

    def restore(self, content: bytes) -> dict[str, Any] | str:
        """What the daemon says, once it is back; its words where it refuses."""
        since = time.monotonic()
        self.daemon._client.close()  # the daemon may have closed it while the file was made
        try:
            reply = self.daemon._client.upload("restore", parts=[content], size=len(content))
        except DaemonUnreachable:
            raise
        except FlywheelError as error:
            return error.message
        taken: dict[str, Any] = reply.value
        self._wait(time.monotonic() - since)
        return taken

    def _wait(self, took_s: float) -> None:
        asked = time.monotonic()
        while time.monotonic() < asked + _BACK_S:
            with contextlib.suppress(DaemonUnreachable):
                if self.daemon.get("status")["uptime_s"] < time.monotonic() - asked:
                    return
            time.sleep(0.1)
        raise DaemonUnreachable(f"it did not come back in {_BACK_S} s after {took_s:.0f} s")

    def alive(self) -> bool:
        """Whether the process is the one that was started."""
        process = self.daemon._process
        return process is not None and process.poll() is None


def outcome(target: Target, mutant: Mutant, base: Mapping[str, object], events: int) -> str:
    """refused, named, same, silent or dead."""
    try:
        answer = target.restore(mutant.content)
    except DaemonUnreachable:
        return "dead"
    if not target.alive():
        return "dead"
    if isinstance(answer, str):
        return "refused"
    after = target.folder / "after.duckdb"
    target.back_up(after)
    found = content_of(after, events)
    if found == base:
        return "same"
    if answer["problems"]:
        return "named"
    different = [name for name in base if base[name] != found.get(name)]
    print(f"    differs in {different[:3]}", file=sys.stderr)
    return "silent"


def main() -> int:
    """Run the mutations and print the figures; exit status 1 when one died or was silent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few of each kind")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    began, tally = time.monotonic(), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target = Target(folder)
        with contextlib.ExitStack() as stack:
            stack.enter_context(target.daemon)
            whole = target.back_up(folder / "whole.duckdb")
            with contextlib.closing(duckdb.connect(str(folder / "whole.duckdb"))) as con:
                (events,) = con.execute("SELECT max(number) FROM decision_events").fetchone() or (
                    0,
                )
            base = content_of(folder / "whole.duckdb", events)
            statements = edits(folder / "whole.duckdb")
            if asked.quick:
                chance = random.Random(0)
                statements = [*_FORGED[:3], *chance.sample(statements, 12)]
            for seed in range(asked.seeds):
                number = QUICK_BYTES if asked.quick else BYTES
                for mutant in itertools.chain(
                    others() if seed == 0 else (),
                    by_duckdb(whole, folder, statements) if seed == 0 else (),
                    of_bytes(whole, random.Random(seed), number),
                ):
                    came = outcome(target, mutant, base, events)
                    tally[came] += 1
                    print(f"{came:8} {mutant.name[:90]}", file=sys.stderr, flush=True)
                    if came == "dead":
                        target.daemon.__exit__(None, None, None)
                        shutil.rmtree(folder / "daemon")
                        target = Target(folder)
                        stack.enter_context(target.daemon)
                    elif came not in ("refused", "same"):
                        target.restore(whole)
    figures = {
        "mutations": tally.total(),
        "deaths": tally["dead"],
        "silent": tally["silent"],
        **{name: tally[name] for name in ("refused", "named", "same")},
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(figures))
    return 1 if tally["dead"] or tally["silent"] else 0


if __name__ == "__main__":
    sys.exit(main())
