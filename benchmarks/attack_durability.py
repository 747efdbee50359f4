"""Attacks on what was acknowledged: the engine's log, the redo log and the decision log damaged.

Each case has a real daemon acknowledge something, kills it with `kill -9`, damages a file, starts
it again, and looks whether what was acknowledged is there, and there once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import duckdb

from benchmarks.attack_lab import Cases, Daemon, Lab, acts, decision
from flywheel.store import decisions, labels, redo

CASES = Cases("what was acknowledged")
ONE = "approvals = 1"


def _wal(daemon: Daemon) -> Path:
    return daemon.folder / "var" / "flywheel.duckdb.wal"


def _delete(daemon: Daemon, lab: Lab) -> None:
    _wal(daemon).unlink()


def _overwrite(daemon: Daemon, lab: Lab) -> None:
    _wal(daemon).write_bytes(lab.chance.randbytes(_wal(daemon).stat().st_size))


def _zero(daemon: Daemon, lab: Lab) -> None:
    _wal(daemon).write_bytes(bytes(_wal(daemon).stat().st_size))


def _truncate(daemon: Daemon, lab: Lab) -> None:
    os.truncate(_wal(daemon), lab.chance.randrange(_wal(daemon).stat().st_size // 2))


def _flip(daemon: Daemon, lab: Lab) -> None:
    data = bytearray(_wal(daemon).read_bytes())
    data[lab.chance.randrange(len(data))] ^= 1 << lab.chance.randrange(8)
    _wal(daemon).write_bytes(data)


Damage = Callable[[Daemon, Lab], None]


def _segments(daemon: Daemon) -> list[Path]:
    return sorted((daemon.folder / "var" / redo.FOLDER).glob("*.ndjson"))


def _after(daemon: Daemon, lab: Lab, damage: Damage) -> list[str]:
    """Kill, damage, start again, and return the problems that it tells."""
    daemon.kill()
    if not _wal(daemon).stat().st_size:
        raise RuntimeError("the engine's log was empty: nothing was attacked")
    damage(daemon, lab)
    daemon.start()
    return _told(daemon)


def _told(daemon: Daemon) -> list[str]:
    """The problems that it tells of its two logs."""
    problems: list[str] = daemon.admin("GET", "/v1/status")["problems"]
    return [line for line in problems if "redo log" in line or "decision log" in line]


def _samples(daemon: Daemon, lab: Lab, damage: Damage) -> str:
    texts = [f"{word} said{n}" for n, word in enumerate(lab.history.words["pay_bill"])]
    rows = [{"text": text, "intent": "pay_bill", "split": "train"} for text in texts]
    for row in rows:
        daemon.admin("POST", "/v1/samples", row)
    problems = _after(daemon, lab, damage)
    again = daemon.admin("POST", "/v1/samples", b"\n".join(json.dumps(r).encode() for r in rows))
    if (again["accepted"], again["duplicates"]) != (0, len(rows)) or problems:
        return f"{again} {problems}"
    daemon.stop()
    runtime = lab.loop(folder=daemon.folder)
    with runtime.store.read() as con:
        sql = "SELECT text FROM samples WHERE list_contains(?, text) ORDER BY text"
        stored = [text for (text,) in con.execute(sql, [texts]).fetchall()]
    return "" if stored == sorted(texts) else f"{stored}"


def _approval(daemon: Daemon, lab: Lab, damage: Damage) -> str:
    approved = daemon.by("ada", "POST", "/v1/decisions/d-3/approve", {"because": "checked"})
    problems = _after(daemon, lab, damage)
    link = (daemon.folder / "var" / "adapters" / "champion").readlink().name
    serves = daemon.admin("GET", "/v1/status")["champion"]
    daemon.stop()
    runtime = lab.loop(folder=daemon.folder)
    stands = decision(runtime).status
    with runtime.store.read() as con:
        applied = [one for one in decisions.events(con, "d-3") if one["by"].startswith("ada")]
    better = lab.history.better
    if (approved.status, serves, link, stands, len(applied)) == (200, better, better, "applied", 1):
        return f"{problems}" if problems else ""
    return f"{approved} {serves} {link} {stands} {applied}"


def _labels(daemon: Daemon, lab: Lab, damage: Damage) -> str:
    asked = daemon.by("label", "GET", "/v1/labels").json["items"]
    for item in asked:
        said = {"item": item["item"], "intent": "pay_bill"}
        if daemon.by("label", "POST", "/v1/labels", said).status != 200:
            return f"{said} was refused"
    problems = _after(daemon, lab, damage)
    daemon.stop()
    runtime = lab.loop(folder=daemon.folder)
    with runtime.store.read() as con:
        stored = [each.item for each in labels.standing(con)]
    wanted = sorted(item["item"] for item in asked)
    return "" if wanted and sorted(stored) == wanted and not problems else f"{stored} {problems}"


@CASES
def samples_stand_once_after_the_engines_log_was_deleted(lab: Lab) -> str:
    return _samples(lab.daemon(promotion=ONE), lab, _delete)


@CASES
def samples_stand_once_after_the_engines_log_became_random_bytes(lab: Lab) -> str:
    return _samples(lab.daemon(promotion=ONE), lab, _overwrite)


@CASES
def samples_stand_once_after_the_engines_log_was_zeroed(lab: Lab) -> str:
    return _samples(lab.daemon(promotion=ONE), lab, _zero)


@CASES
def samples_stand_once_after_the_engines_log_was_truncated(lab: Lab) -> str:
    return _samples(lab.daemon(promotion=ONE), lab, _truncate)


@CASES
def an_approval_stands_once_after_the_engines_log_was_deleted(lab: Lab) -> str:
    return _approval(lab.daemon(promotion=ONE), lab, _delete)


@CASES
def an_approval_stands_once_after_the_engines_log_became_random_bytes(lab: Lab) -> str:
    return _approval(lab.daemon(promotion=ONE), lab, _overwrite)


@CASES
def an_approval_stands_once_after_a_bit_of_the_engines_log_flipped(lab: Lab) -> str:
    return _approval(lab.daemon(promotion=ONE), lab, _flip)


@CASES
def labels_stand_once_after_the_engines_log_was_deleted(lab: Lab) -> str:
    return _labels(lab.daemon(promotion=ONE), lab, _delete)


@CASES
def labels_stand_once_after_the_engines_log_became_random_bytes(lab: Lab) -> str:
    return _labels(lab.daemon(promotion=ONE), lab, _overwrite)


@CASES
def a_rejection_stands_after_the_engines_log_was_lost(lab: Lab) -> str:
    daemon = lab.daemon(promotion=ONE)
    rejected = daemon.by("ada", "POST", "/v1/decisions/d-3/reject", {"because": "no"})
    problems = _after(daemon, lab, _delete)
    stands = daemon.admin("GET", "/v1/decisions/d-3")["status"]
    if (rejected.status, stands, problems) != (200, "rejected", []):
        return f"{rejected} {stands} {problems}"
    return ""


@CASES
def a_damaged_line_of_the_redo_log_is_told_and_takes_nothing_else_along(lab: Lab) -> str:
    def damage(daemon: Daemon, lab: Lab) -> None:
        _delete(daemon, lab)
        *_, segment = _segments(daemon)
        lines = segment.read_bytes().splitlines(keepends=True)
        at = next(n for n, line in enumerate(lines) if b'"show"' in line)  # the first sample
        lines[at] = lines[at][:60] + bytes([lines[at][60] ^ 1]) + lines[at][61:]
        segment.write_bytes(b"".join(lines))

    daemon = lab.daemon(promotion=ONE)
    for n in range(2):
        row = {"text": f"pay {n} damaged", "intent": "pay_bill", "split": "train"}
        daemon.admin("POST", "/v1/samples", row)
    daemon.by("ada", "POST", "/v1/decisions/d-3/reject", {"because": "no"})
    problems = _after(daemon, lab, damage)
    stands = daemon.admin("GET", "/v1/decisions/d-3")["status"]
    told = any("transactions of the redo log could not be read" in line for line in problems)
    kept = (daemon.folder / "var" / redo.FOLDER / redo.NOT_APPLIED).exists()
    return "" if (told, kept, stands) == (True, True, "rejected") else f"{problems} {stands}"


@CASES
def a_decision_log_that_lost_its_end_while_nobody_ran_is_told(lab: Lab) -> str:
    daemon = lab.daemon(promotion=ONE)
    daemon.by("ada", "POST", "/v1/decisions/d-3/reject", {"because": "no"})
    daemon.stop()
    with duckdb.connect(str(daemon.folder / "var" / "flywheel.duckdb")) as con:
        last = "number = (SELECT max(number) FROM decision_events)"
        con.execute(f"DELETE FROM decision_events WHERE {last}")
    daemon.start()
    problems = _told(daemon)
    daemon.stop()
    kept = [
        why for what, _, why in acts(lab.loop(folder=daemon.folder)) if what == "database.recovered"
    ]
    told = any("end was cut off or rewritten" in line for line in (*problems, *kept))
    return "" if told and problems and kept else f"{problems} {kept}"


@CASES
def a_redo_log_that_lost_its_end_is_told_and_the_database_stays(lab: Lab) -> str:
    daemon = lab.daemon(promotion=ONE)
    daemon.by("ada", "POST", "/v1/decisions/d-3/reject", {"because": "no"})
    daemon.kill()
    *_, segment = _segments(daemon)
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:-1]))
    daemon.start()
    problems = _told(daemon)
    stands = daemon.admin("GET", "/v1/decisions/d-3")["status"]
    told = any("the log's end was cut off" in line for line in problems)
    return "" if told and stands == "rejected" else f"{problems} {stands}"


@CASES
def an_erased_person_does_not_come_back_with_the_redo_log(lab: Lab) -> str:
    daemon = lab.daemon(promotion=ONE)
    mark = f"erase-me-{lab.chance.randrange(1 << 40)}"
    said = {"id": mark, "ts": "2026-11-22T05:17:00Z", "text": mark, "intent": "pay_bill"}
    daemon.admin("POST", "/v1/predictions", {**said, "session": mark})
    word = {"id": f"f-{mark}", "prediction_id": mark, "ts": said["ts"], "verdict": "correct"}
    daemon.admin("POST", "/v1/feedback", word)
    erased = daemon.admin("POST", "/v1/erase", {"session": mark})
    daemon.admin("POST", "/v1/samples", {"text": "later", "intent": "none", "split": "train"})
    problems = _after(daemon, lab, _delete)
    found = [path.name for path in _segments(daemon) if mark.encode() in path.read_bytes()]
    daemon.stop()
    with lab.loop(folder=daemon.folder).store.read() as con:
        (rows,) = con.execute("SELECT count(*) FROM predictions WHERE id = ?", [mark]).fetchone()
        (later,) = con.execute("SELECT count(*) FROM samples WHERE text = 'later'").fetchone()
    if (rows, later, found, problems, erased["left"]) != (0, 1, [], [], {}):
        return f"{rows} {later} {found} {problems} {erased['left']}"
    return ""
