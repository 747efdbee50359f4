"""What people really send: is anything taken for something else, lost, or fatal?

Records of every format are made from meanings that are known, most of them are damaged (keys
renamed or gone, values of other types, broken arguments, half characters, thousands of lists in
lists), packed into files of any layout, encoding and compression, and sent to a real daemon: by
the command line, over HTTP, and through the sources `jsonl` and `csv`. What the tables hold is
then compared with what was meant. A record may be refused or skipped; it may not be read wrongly.

    python benchmarks/real_input.py [--quick] [--seeds N] [--data FOLDER]

The last line is JSON. `silently_wrong`: records whose text, calls or verdict in the tables are not
what was meant. `tracebacks`: of commands and of the daemon. `stuck`: sources that did not come to
their end. `unaccounted`: lines that were neither accepted, repeated, rejected nor skipped.
`cases_passed` of `cases`: files of FOLDER that go through without a traceback and with every line
accounted for. `refused_whole`: undamaged records that were not read, which is no error but a pity.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import duckdb
from typer.testing import CliRunner

from benchmarks.daemon_harness import RunningDaemon
from benchmarks.real_damage import Packed, damaged, packed, table
from benchmarks.real_records import INTENTS, Maker, Meaning, Record
from benchmarks.real_verdicts import SCORES
from flywheel.cli.app import app

CASES = Path(__file__).parents[1] / "tests/cases/files"
FILE_RECORDS = 25
WAIT_S = 90.0
_MARK = re.compile(r"k\d{6}k")
_SHARE = {"command": 0.4, "http": 0.3, "jsonl": 0.2, "csv": 0.1}
_ROUTES = {"prediction": "predictions", "verdict": "feedback", "sample": "samples"}


def main() -> None:
    """Send, compare, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="500 records instead of 5,000")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="seed of the first run")
    parser.add_argument("--data", type=Path, default=CASES, help="a folder of files to send")
    parser.add_argument("--show", type=int, default=20, help="faults that are shown")
    given = parser.parse_args()
    count = 500 if given.quick else 5_000
    seeds = range(given.first, given.first + given.seeds)
    found = [measured(seed, count, given.data if seed == given.first else None) for seed in seeds]
    for each in found:
        each.tell(given.show)
    print(json.dumps(summary(found, count)))


@dataclass(slots=True)
class Outcome:
    """What one run found."""

    seed: int
    seconds: float = 0.0
    cases: int = 0
    cases_passed: int = 0
    sent: int = 0
    taken: int = 0  # records whose meaning is in the tables
    wrong: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    unaccounted: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)  # undamaged records not taken, by form
    missing: int = 0  # lines that nobody accounted for

    def tell(self, show: int) -> None:
        """Say what was found."""
        print(
            f"seed {self.seed}: {self.sent:,} sent, {self.taken:,} taken as meant, "
            f"{len(self.wrong)} wrong, {self.seconds:.0f} s"
        )
        for name in ("wrong", "tracebacks", "stuck", "unaccounted"):
            for one in getattr(self, name)[:show]:
                print(f"  {name}: {one}")
        if self.refused:
            print(f"  undamaged, not taken: {dict(self.refused.most_common())}")


def summary(found: Sequence[Outcome], count: int) -> dict[str, Any]:
    """The figures of all runs."""
    return {
        "cases_passed": sum(each.cases_passed for each in found),
        "cases": sum(each.cases for each in found),
        "silently_wrong": sum(len(each.wrong) for each in found),
        "tracebacks": sum(len(each.tracebacks) for each in found),
        "stuck": sum(len(each.stuck) for each in found),
        "unaccounted": sum(each.missing for each in found),
        "records": count * len(found),
        "seeds": [each.seed for each in found],
        "taken": sum(each.taken for each in found),
        "refused_whole": sum(each.refused.total() for each in found),
        "seconds": round(sum(each.seconds for each in found), 1),
    }


# Sending.


def measured(seed: int, count: int, cases: Path | None) -> Outcome:
    """One run."""
    began = time.monotonic()
    outcome = Outcome(seed=seed)
    plan = planned(random.Random(seed), count)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_sources(folder, plan)
        with RunningDaemon(folder, _config(plan), INTENTS) as daemon:
            sender = _Sending(folder, daemon, outcome)
            for number, file in enumerate(plan["command"]):
                sender.command(number, file)
            for file in plan["http"]:
                sender.post(file)
            sender.sources(plan)
            daemon.get("rejected")
            records = [one for files in plan.values() for file in files for one in file.records]
        _compare(folder, records, outcome)
        _read_logs(folder, outcome)
        if cases is not None and cases.is_dir():
            with RunningDaemon(folder / "cases", _config({}), INTENTS) as daemon:
                _send_cases(_Sending(folder / "cases", daemon, outcome), cases)
            _read_logs(folder / "cases", outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


Plan = Mapping[str, list[Packed]]


def planned(chance: random.Random, count: int) -> Plan:
    """The files of each way in."""
    maker = Maker(chance)
    records = [maker.record() for _ in range(count)]
    plan: dict[str, list[Packed]] = {way: [] for way in _SHARE}
    ways: dict[str, list[Record]] = {way: [] for way in _SHARE}
    for record in records:
        native = record.form.startswith("native") and record.meaning.kind != "sample"
        free = {way: share for way, share in _SHARE.items() if native or way != "csv"}
        way = chance.choices(tuple(free), tuple(free.values()))[0]
        if way != "csv" and chance.random() < 0.65:
            record = damaged(chance, record)
        ways[way].append(record)
    for way, those in ways.items():
        for some in _batches(those):
            plan[way].append(table(chance, some) if way == "csv" else _file(chance, way, some))
    return plan


def _batches(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Files' worth of records; predictions, verdicts and samples apart, as they are sent."""
    for kind in _ROUTES:
        those = [record for record in records if record.meaning.kind == kind]
        # Half of the files hold no line that is damaged as a line: only these can be lists.
        those.sort(key=lambda record: record.line is not None and len(record.line) % 2 == 0)
        for start in range(0, len(those), FILE_RECORDS):
            yield those[start : start + FILE_RECORDS]


def _file(chance: random.Random, way: str, records: Sequence[Record]) -> Packed:
    if way == "http":
        lines = b"\n".join(record.raw for record in records)
        whole = not any(record.line for record in records)
        if whole and chance.random() < 0.4:
            lines = b"[" + b",".join(record.raw for record in records) + b"]"
        kept = tuple(
            replace(one, meaning=replace(one.meaning, held=False)) if one.line else one
            for one in records
        )
        return Packed(name="body", content=lines, ending="", records=kept, told=len(records))
    file = packed(chance, records)
    if way == "jsonl" and file.encoding:  # one source has one encoding
        kept = tuple(replace(one, meaning=replace(one.meaning, held=False)) for one in file.records)
        return replace(file, records=kept)
    return file


def _write_sources(folder: Path, plan: Plan) -> None:
    for way in ("jsonl", "csv"):
        for number, file in enumerate(plan[way]):
            path = folder / way / (file.encoding or "plain" if way == "csv" else "plain")
            path.mkdir(parents=True, exist_ok=True)
            path = path / f"{number}.{file.ending}"
            path.write_bytes(file.content)
            os.utime(path, (time.time() - 7200,) * 2)  # a torn last line is waited for an hour


def _config(plan: Plan) -> str:
    rules = "\n".join(f"{name} = {json.dumps(rule)}" for name, rule in SCORES.items())
    tables = [
        "[flywheel]", 'state_dir = "var"', "[intents]", 'file = "intents.json"', "[schedule]",
        'cron = ""', "[feedback.scores]", rules,
    ]  # fmt: skip
    if plan.get("jsonl"):
        tables += ["[sources.jsonl]", 'plugin = "jsonl"', 'path = "jsonl/plain/*"']
        tables += ["samples = true"]
    for encoding in sorted({file.encoding for file in plan.get("csv", ())}):
        name = encoding or "plain"
        tables += [f"[sources.csv_{name}]", 'plugin = "csv"', f'path = "csv/{name}/*"']
        tables += ["samples = true"]
        tables += [f'encoding = "{encoding}"'] if encoding else []
    return "\n".join(tables) + "\n"


class _Sending:
    """Sends files to one daemon and counts what became of their lines."""

    def __init__(self, folder: Path, daemon: RunningDaemon, outcome: Outcome) -> None:
        self._folder = folder
        self._daemon = daemon
        self._outcome = outcome

    def command(self, number: int, file: Packed) -> None:
        """Send a file by the command line."""
        path = self._folder / f"file-{number}.{file.ending}"
        path.write_bytes(file.content)
        options = ["--encoding", file.encoding] if file.encoding else []
        if file.records and file.records[0].meaning.kind == "sample":
            options += ["--kind", "samples"]
        self._outcome.sent += len(file.records)
        told = self.run(path, options)
        if told is not None and told < file.told:
            self._lost(f"{file.name}: {told} of {file.told} are told", file.told - told)

    def run(self, path: Path, options: Sequence[str] = ()) -> int | None:
        """Send any file; how many of its records are accounted for, None where it is refused."""
        told = self.ran(["ingest", str(path), "--json", *options])
        if told is None:
            return None
        parts = told["accepted"] + told["duplicates"] + told["skipped"] + len(told["rejected"])
        if parts < told["sent"]:
            self._lost(f"{path.name}: {parts} of {told['sent']}", told["sent"] - parts)
        return int(parts)

    def ran(self, command: Sequence[str]) -> Any:
        """What a command answers as JSON; None where it says why it does not."""
        place = {"FLYWHEEL_CONFIG": str(self._folder / "config.toml")}
        result = CliRunner().invoke(app, list(command), env=place, prog_name="flywheel")
        crashed = result.exception is not None and not isinstance(result.exception, SystemExit)
        if crashed or "Traceback" in result.output or result.exit_code not in (0, 1, 2):
            self._outcome.tracebacks.append(f"{command}: {result.exception!r}"[:300])
            return None
        if not result.stdout.startswith("{"):
            return None
        return json.loads(result.stdout.splitlines()[0])

    def post(self, file: Packed) -> None:
        """Send records over HTTP."""
        route = _ROUTES[file.records[0].meaning.kind]
        self._outcome.sent += len(file.records)
        status, told = self._posted(route, file.content)
        if status not in (200, 422):
            whole = all(one.line is None for one in file.records)
            if status >= 500 or whole:
                self._outcome.tracebacks.append(f"POST {route}: {status} {told}"[:300])
            return
        parts = told["accepted"] + told["duplicates"] + told["skipped"] + len(told["rejected"])
        if parts < file.told:
            self._lost(f"POST {route}: {parts} of {file.told} are told", file.told - parts)

    def _posted(self, route: str, body: bytes) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self._folder / "var/flywheel.sock"))
        try:
            connection.request("POST", f"/v1/{route}", body)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def sources(self, plan: Plan) -> None:
        """Wait until the sources have read what they have."""
        wanted: Counter[str] = Counter()
        for way in ("jsonl", "csv"):
            for file in plan[way]:
                name = "jsonl" if way == "jsonl" else f"csv_{file.encoding or 'plain'}"
                wanted[name] += file.told
                self._outcome.sent += len(file.records)
        until, seen = time.monotonic() + WAIT_S, Counter[str]()
        while time.monotonic() < until:
            states = {one["name"]: one for one in self._daemon.get("status")["sources"]}
            now = Counter({name: one["events"] for name, one in states.items()})
            if now != seen:
                seen, until = now, time.monotonic() + 15
            if all(seen[name] >= count for name, count in wanted.items()):
                return
            time.sleep(0.3)
        for name, state in states.items():
            if state["error"] or state["stuck"]:
                self._outcome.stuck.append(f"{name}: {state['error']}")
            if state["events"] < wanted[name]:
                missing = wanted[name] - state["events"]
                self._lost(f"source {name}: {state['events']} of {wanted[name]}", missing)

    def _lost(self, what: str, count: int) -> None:
        self._outcome.unaccounted.append(what)
        self._outcome.missing += count


def _send_cases(sender: _Sending, folder: Path) -> None:
    outcome = sender._outcome
    for path in sorted(one for one in folder.iterdir() if one.is_file() and one.suffix != ".md"):
        before = (len(outcome.tracebacks), outcome.missing)
        sender.run(path)
        outcome.cases += 1
        outcome.cases_passed += before == (len(outcome.tracebacks), outcome.missing)


# Comparing.


def _compare(folder: Path, records: Sequence[Record], outcome: Outcome) -> None:
    by_mark = {record.meaning.mark: record for record in records}
    taken: set[str] = set()
    with duckdb.connect(str(folder / "var/flywheel.duckdb"), read_only=True) as con:
        for kind, said, row in _rows(con):
            found = _MARK.search(said)
            record = by_mark.get(found.group()) if found else None
            if record is None:
                outcome.wrong.append(f"{kind} of nobody: {row}"[:400])
                continue
            why = _difference(record.meaning, kind, row)
            if why:
                damage = ", ".join(record.damages) or "whole"
                outcome.wrong.append(f"{record.form}, {damage}: {why}: {_shown(record)}")
            else:
                taken.add(record.meaning.mark)
    outcome.taken = len(taken)
    for record in records:
        meaning = record.meaning
        meant = meaning.kind != "verdict" or meaning.verdict is not None
        if meaning.held and meant and meaning.mark not in taken:
            outcome.refused[f"{record.form} {' '.join(record.damages)}".strip()] += 1


def _shown(record: Record) -> str:
    return record.raw.decode("utf-8", "replace")[:700]


def _rows(con: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every row of the tables: its kind, the text with its mark, and its cells."""
    queries = {
        "prediction": ("text", "SELECT text, intent, arguments, calls, malformed FROM predictions"),
        "verdict": (
            "prediction_id",
            "SELECT prediction_id, verdict, intent, arguments, calls FROM feedback "
            "WHERE NOT (rater_kind = 'rule' AND rater = 'malformed')",
        ),
        "sample": ("text", "SELECT text, intent, arguments FROM samples"),
    }
    for kind, (key, query) in queries.items():
        answer = con.execute(query)
        names = [column[0] for column in answer.description or ()]
        for cells in answer.fetchall():
            row = dict(zip(names, cells, strict=True))
            yield kind, row[key], row


def _difference(meaning: Meaning, kind: str, row: Mapping[str, Any]) -> str:
    """What a row says that was not meant; "" where it says what was."""
    if kind != meaning.kind and {kind, meaning.kind} != {"prediction", "sample"}:
        return f"is a {kind}, meant was a {meaning.kind}"
    if kind == "verdict":
        return _other_verdict(meaning, row)
    if row["text"] != meaning.text:
        return f"text {row['text']!r}"
    if meaning.calls is None:
        return f"taken as {row['intent']}"
    calls = json.loads(row.get("calls") or "[]")
    given = row["arguments"]
    stored = [(one["intent"], one["arguments"]) for one in calls] or [
        (row["intent"], json.loads(given) if given else None)
    ]
    meant = list(meaning.calls) or [("none", {})]
    if [name for name, _ in stored] != [name for name, _ in meant]:
        return f"calls {stored}, meant {meant}"
    if row.get("malformed"):
        return "" if meaning.broken or meaning.bare else "malformed"
    if meaning.broken:
        return f"broken arguments read as {stored}"
    for (_, got), (_, given) in zip(stored, meant, strict=True):
        if (got or {}) != given and not (meaning.bare and not got):
            return f"arguments {got}, meant {given}"
    return ""


def _other_verdict(meaning: Meaning, row: Mapping[str, Any]) -> str:
    meant = meaning.verdict
    said = (row["verdict"], row["intent"], row["arguments"])
    if meant is None:
        return f"counted as {said}"
    if row["verdict"] != meant.word:
        return f"counted as {said}, meant {meant}"
    if meant.word != "corrected":
        return ""
    given = json.loads(row["arguments"]) if row["arguments"] else None
    same = given == meant.arguments or (not given and not meant.arguments)
    if row["intent"] != meant.intent or not (same or (meaning.bare and not given)):
        return f"counted as {said}, meant {meant}"
    return ""


def _read_logs(folder: Path, outcome: Outcome) -> None:
    for path in [folder / "daemon.err", *folder.glob("var/logs/*"), *folder.glob("logs/*")]:
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        for found in re.findall(r"Traceback \(most recent call last\).{0,1500}", text, re.DOTALL):
            outcome.tracebacks.append(f"{path.name}: {found}")


if __name__ == "__main__":
    main()
