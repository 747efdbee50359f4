"""Does a source keep the contract of `protocols.Source`? Its own, or a stranger's.

A kill is played by what it leaves behind: the source is opened again at the last cursor that was
committed, whatever it had handed out or been told since. The source needs a few events to read,
and nobody may add to them meanwhile. Acknowledgements are real: on a queue, use a copy.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from flywheel.errors import FlywheelError
from flywheel.protocols import Batch, Source

Check = tuple[str, bool, str]
"""(what was checked, whether it holds, what was seen)"""

UNDERSTOOD = "its events can be taken in"

_GRACE_S = 5.0  # that a poll may take beyond its timeout
_TIMEOUT_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """One source, how to open it, and how much of it to read."""

    make: Callable[[], Source]
    options: Mapping[str, Any]
    limit: int  # events of a poll
    most: int  # events of a reading

    def read(self, cursor: str | None) -> list[Batch]:
        """Open at `cursor` and poll until there is nothing more, without a single ack."""
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
    """Hold a source to its contract; never raises for what the source does.

    Args:
        make: as `discovery.find` returns it.
        options: of `[sources.NAME]`.
        limit: events asked for in one poll; small, so that the reading has several batches.
        most: events read at most.
        spoil: puts a row that is no event, and then a good one, where the source reads; returns
            the good event. Without it, bad rows are not tried.
        understood: whether what was read can be taken in, and what it came to.
    """
    trial = _Trial(make=make, options=options, limit=limit, most=most)
    whole: list[Batch] = []
    checks = [
        _tried("offers open, poll, ack and close", lambda: _shape(trial)),
        _tried("reads events from the start", lambda: _reads(trial, whole)),
    ]
    if not whole:
        return checks
    if understood is not None:
        checks.append(_tried(UNDERSTOOD, lambda: understood(_events(whole))))
    checks += [
        _tried("batches are bounded and cursors are text", lambda: _bounded(trial, whole)),
        _tried("a killed poll loses nothing", lambda: _killed(trial, whole, "poll")),
        _tried("a kill between commit and ack loses nothing", lambda: _killed(trial, whole, "")),
        _tried("a kill after the ack loses nothing", lambda: _killed(trial, whole, "ack")),
        _tried("goes on from every cursor", lambda: _every_cursor(trial, whole)),
        _tried("an empty poll ends in time", lambda: _in_time(trial, whole)),
        _tried("refuses an unknown option by name", lambda: _unknown_option(trial)),
        _tried("closes twice", lambda: _closes_twice(trial)),
    ]
    if spoil is not None:
        checks.append(_tried("a bad row does not stop it", lambda: _bad_row(trial, whole, spoil)))
    return checks


def _tried(name: str, run: Callable[[], tuple[bool, str]]) -> Check:
    try:
        ok, detail = run()
    except Exception as error:  # noqa: BLE001  a stranger's code may raise anything
        return name, False, f"{type(error).__name__}: {error}"
    return name, ok, detail


def _shape(trial: _Trial) -> tuple[bool, str]:
    source = trial.make()
    missing = [
        name
        for name in ("open", "poll", "ack", "close")
        if not callable(getattr(source, name, None))
    ]
    return not missing, f"missing: {', '.join(missing)}" if missing else ""


def _reads(trial: _Trial, whole: list[Batch]) -> tuple[bool, str]:
    whole += trial.read(None)
    if not whole:
        return False, "no event to read; put some where the source reads and check again"
    events = _events(whole)
    without = sum("id" not in event for event in events)
    note = f", {without} without an `id`: a repeat of those is not recognised" if without else ""
    return True, f"{len(events)} events in {len(whole)} batches{note}"


def _bounded(trial: _Trial, whole: Sequence[Batch]) -> tuple[bool, str]:
    longest = max(len(batch.events) for batch in whole)
    if longest > trial.limit:
        return False, f"asked for {trial.limit} events, got {longest}"
    if not all(isinstance(batch.cursor, str) and batch.cursor for batch in whole):
        return False, "a cursor is not a non-empty text"
    if not all(isinstance(event, Mapping) for event in _events(whole)):
        return False, "an event is not a mapping"
    json.dumps(_events(whole))
    return True, ""


def _killed(trial: _Trial, whole: Sequence[Batch], after: str) -> tuple[bool, str]:
    """Die after a poll, after its commit, or after its ack; then start again as the daemon does."""
    with closing(trial.make()) as source:
        source.open(trial.options, None)
        batch = source.poll(trial.limit, _TIMEOUT_S)
        if batch is None:
            return False, "the second opening had nothing to read"
        if after == "ack":
            source.ack(batch.cursor)
            source.ack(batch.cursor)
    if after == "poll":
        return _same(_events(whole), _events(trial.read(None)))
    given = set(map(_key, batch.events))
    left = [event for event in _events(whole) if _key(event) not in given]
    return _same(left, _events(trial.read(batch.cursor)))


def _every_cursor(trial: _Trial, whole: Sequence[Batch]) -> tuple[bool, str]:
    read = 0
    for batch in whole[:20]:
        read += len(batch.events)
        ok, detail = _same(_events(whole)[read:], _events(trial.read(batch.cursor)))
        if not ok:
            return False, f"after {read} events: {detail}"
    return True, f"{min(len(whole), 20)} cursors"


def _in_time(trial: _Trial, whole: Sequence[Batch]) -> tuple[bool, str]:
    with closing(trial.make()) as source:
        source.open(trial.options, whole[-1].cursor)
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
    trial: _Trial, whole: Sequence[Batch], spoil: Callable[[], Mapping[str, Any]]
) -> tuple[bool, str]:
    good = spoil()
    read = _events(trial.read(whole[-1].cursor))
    return _key(good) in map(_key, read), f"{len(read)} rows behind the bad one"


def _events(batches: Sequence[Batch]) -> list[Mapping[str, Any]]:
    return [event for batch in batches for event in batch.events]


def _key(event: Mapping[str, Any]) -> str:
    return json.dumps(event, sort_keys=True, default=str)


def _same(
    wanted: Sequence[Mapping[str, Any]], read: Sequence[Mapping[str, Any]]
) -> tuple[bool, str]:
    """Nothing lost; a repeat is allowed where its `id` tells that it is one."""
    wanted_keys, read_keys = set(map(_key, wanted)), set(map(_key, read))
    lost = len(wanted_keys - read_keys)
    repeated = [event for event in read if _key(event) not in wanted_keys]
    nameless = sum("id" not in event for event in repeated)
    detail = f"{lost} lost, {len(repeated)} repeated" if lost or repeated else ""
    return not lost and not nameless, detail
