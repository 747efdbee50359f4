"""Conformance checks of the contract of `protocols.Source`, for built-in sources and plug-ins.

A crash is simulated by its effect: the source is opened again at the last committed cursor,
whatever it delivered or acknowledged since. The source needs a few events, and nothing may be
added during the check. Acknowledgements are real: for a queue, use a copy.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import msgspec

from flywheel.errors import FlywheelError
from flywheel.protocols import Batch, Source

Check = tuple[str, bool, str]
"""(what was checked, whether it holds, what was seen)"""

UNDERSTOOD = "its events can be taken in"

_GRACE_S = 5.0  # that a poll may take beyond its timeout
_TIMEOUT_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """One source, its options, and how much of it to read."""

    make: Callable[[], Source]
    options: Mapping[str, Any]
    limit: int  # events of one poll
    most: int  # events of one reading, at least

    def read(self, cursor: str | None) -> list[Batch]:
        """Open at `cursor` and poll until nothing is left or `most` is reached, without any ack."""
        batches: list[Batch] = []
        with closing(self.make()) as source:
            source.open(self.options, cursor)
            while sum(len(batch.events) for batch in batches) < self.most:
                batch = source.poll(self.limit, _TIMEOUT_S)
                if batch is None:
                    break
                batches.append(batch)
        return batches


def check(
    make: Callable[[], Source],
    options: Mapping[str, Any],
    *,
    limit: int = 5,
    most: int = 500,
    spoil: Callable[[], Mapping[str, Any]] | None = None,
    understood: Callable[[Sequence[Mapping[str, Any]]], tuple[bool, str]] | None = None,
) -> list[Check]:
    """Check a source against its contract; exceptions of the source become failed checks.

    Args:
        make: as `runner.find` returns it.
        options: of `[sources.NAME]`.
        limit: events of one poll; small, so that the reading has several batches.
        most: maximum events read, to within one batch.
        spoil: writes a row that is no event, and then a good one, where the source reads; returns
            the good event. Without it, bad rows are not checked.
        understood: returns whether the events can be ingested, and a detail.
    """
    trial = _Trial(make=make, options=options, limit=limit, most=most)
    batches: list[Batch] = []
    checks = [
        _outcome("offers open, poll, ack and close", lambda: _has_methods(trial)),
        _outcome("reads events from the start", lambda: _reads(trial, batches)),
    ]
    if not batches:
        return checks
    if understood is not None:
        checks.append(_outcome(UNDERSTOOD, lambda: understood(_events(batches))))
    checks += [
        _outcome("batches are bounded and cursors are text", lambda: _bounded(trial, batches)),
        _outcome("a killed poll loses nothing", lambda: _killed(trial, batches, "poll")),
        _outcome(
            "a kill between commit and ack loses nothing", lambda: _killed(trial, batches, "")
        ),
        _outcome("a kill after the ack loses nothing", lambda: _killed(trial, batches, "ack")),
        _outcome("goes on from every cursor", lambda: _every_cursor(trial, batches)),
        _outcome("an empty poll ends in time", lambda: _in_time(trial, batches)),
        _outcome("refuses an unknown option by name", lambda: _unknown_option(trial)),
        _outcome("closes twice", lambda: _closes_twice(trial)),
    ]
    if spoil is not None:
        checks.append(
            _outcome("a bad row does not stop it", lambda: _bad_row(trial, batches, spoil))
        )
    return checks


def _outcome(name: str, run: Callable[[], tuple[bool, str]]) -> Check:
    try:
        ok, detail = run()
    except Exception as error:  # noqa: BLE001  a stranger's code may raise anything
        return name, False, f"{type(error).__name__}: {error}"
    return name, ok, detail


def _has_methods(trial: _Trial) -> tuple[bool, str]:
    source = trial.make()
    missing = [
        name
        for name in ("open", "poll", "ack", "close")
        if not callable(getattr(source, name, None))
    ]
    return not missing, f"missing: {', '.join(missing)}" if missing else ""


def _reads(trial: _Trial, batches: list[Batch]) -> tuple[bool, str]:
    batches += trial.read(None)
    if not batches:
        return False, "no event to read; put some where the source reads and check again"
    events = _events(batches)
    without = sum("id" not in event for event in events)
    note = f", {without} without an `id`: a repeat of those is not recognised" if without else ""
    return True, f"{len(events)} events in {len(batches)} batches{note}"


def _bounded(trial: _Trial, batches: Sequence[Batch]) -> tuple[bool, str]:
    longest = max(len(batch.events) for batch in batches)
    if longest > trial.limit:
        return False, f"asked for {trial.limit} events, got {longest}"
    if not all(isinstance(batch.cursor, str) and batch.cursor for batch in batches):
        return False, "a cursor is not a non-empty text"
    if not all(isinstance(event, Mapping) for event in _events(batches)):
        return False, "an event is not a mapping"
    for number, event in enumerate(_events(batches), 1):
        try:
            msgspec.json.encode(event)  # as the daemon does
        except (TypeError, ValueError, RecursionError) as error:
            return False, f"event {number} is not JSON: {error}"
    return True, ""


def _killed(trial: _Trial, batches: Sequence[Batch], after: str) -> tuple[bool, str]:
    """Simulate a crash after a poll, after its commit ("") or after its ack, and a restart."""
    with closing(trial.make()) as source:
        source.open(trial.options, None)
        batch = source.poll(trial.limit, _TIMEOUT_S)
        if batch is None:
            return False, "the second opening had nothing to read"
        if after == "ack":
            source.ack(batch.cursor)
            source.ack(batch.cursor)
    if after == "poll":
        return _same(_events(batches), _events(trial.read(None)))
    delivered = set(map(_key, batch.events))
    remaining = [event for event in _events(batches) if _key(event) not in delivered]
    return _same(remaining, _events(trial.read(batch.cursor)))


def _every_cursor(trial: _Trial, batches: Sequence[Batch]) -> tuple[bool, str]:
    count = 0
    for batch in batches[:20]:
        count += len(batch.events)
        ok, detail = _same(_events(batches)[count:], _events(trial.read(batch.cursor)))
        if not ok:
            return False, f"after {count} events: {detail}"
    return True, f"{min(len(batches), 20)} cursors"


def _in_time(trial: _Trial, batches: Sequence[Batch]) -> tuple[bool, str]:
    with closing(trial.make()) as source:
        source.open(trial.options, batches[-1].cursor)
        began = time.monotonic()
        source.poll(trial.limit, _TIMEOUT_S)
        seconds = time.monotonic() - began
    return seconds <= _TIMEOUT_S + _GRACE_S, f"{seconds:.1f} s where {_TIMEOUT_S} s were asked"


def _unknown_option(trial: _Trial) -> tuple[bool, str]:
    with closing(trial.make()) as source:
        try:
            source.open({**trial.options, "no_such_option": 1}, None)
        except FlywheelError as error:
            return "no_such_option" in f"{error.message} {error.hint}", error.message
    return False, "an option `no_such_option` was taken without a word"


def _closes_twice(trial: _Trial) -> tuple[bool, str]:
    source = trial.make()
    source.open(trial.options, None)
    source.close()
    source.close()
    return True, ""


def _bad_row(
    trial: _Trial, batches: Sequence[Batch], spoil: Callable[[], Mapping[str, Any]]
) -> tuple[bool, str]:
    good = spoil()
    events = _events(trial.read(batches[-1].cursor))
    return _key(good) in map(_key, events), f"{len(events)} rows behind the bad one"


def _events(batches: Sequence[Batch]) -> list[Mapping[str, Any]]:
    return [event for batch in batches for event in batch.events]


def _key(event: Mapping[str, Any]) -> str:
    return json.dumps(event, sort_keys=True, default=str)


def _same(
    expected: Sequence[Mapping[str, Any]], delivered: Sequence[Mapping[str, Any]]
) -> tuple[bool, str]:
    """Whether no event is lost; repeated events are allowed if they have an `id`."""
    expected_keys, delivered_keys = set(map(_key, expected)), set(map(_key, delivered))
    lost_count = len(expected_keys - delivered_keys)
    repeated = [event for event in delivered if _key(event) not in expected_keys]
    nameless = sum("id" not in event for event in repeated)
    detail = f"{lost_count} lost, {len(repeated)} repeated" if lost_count or repeated else ""
    return not lost_count and not nameless, detail
