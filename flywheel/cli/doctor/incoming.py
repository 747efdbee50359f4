"""What comes in: can each source be read, what do recent predictions say, and in which script?

With a running daemon its counts are used; without one, the database as it lies there, what waits in
the spool, and the first events of each source. Nothing is acknowledged, and nothing is changed.
"""

from __future__ import annotations

import glob
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from flywheel.cli.doctor.environment import Finding, Running, fail, ok, skip, warn
from flywheel.cli.text import plural, share
from flywheel.errors import FlywheelError, SourceUnavailable
from flywheel.records import NONE

if TYPE_CHECKING:
    from flywheel.config import Config
    from flywheel.config.tables import SourceTable
    from flywheel.records import Intent, Prediction

_EVENTS = 50  # of a source
_POLL_S = 1.0
_FILES = 3  # of a glob, the newest
_HEAD = 65_536  # bytes of a file
_LINES = 5_000  # of the spool
_FEW = 50  # predictions that say little


@dataclass(slots=True)
class SeenTraffic:
    """What was seen of the predictions that come in."""

    where: str = ""  # "" where nothing was looked at
    n: int = 0
    intents: Counter[str] = field(default_factory=Counter)
    letters: Counter[str] = field(default_factory=Counter)  # beyond ASCII
    earlier: Counter[str] = field(default_factory=Counter)  # intents before them

    def add(self, where: str, traffic: Mapping[str, Any]) -> None:
        """Add what was seen in one more place."""
        self.where = f"{self.where} and {where}" if self.where else where
        self.n += int(traffic.get("n") or 0)
        for name in ("intents", "letters", "earlier"):
            getattr(self, name).update(traffic.get(name) or {})

    def texts(self) -> Iterator[str]:
        """The letters as texts that hold them as often."""
        return (letter * count for letter, count in self.letters.items())


# Sources.


def sources(config: Config, running: Running, seen: SeenTraffic) -> Iterator[Finding]:
    """Whether each configured source can be imported and opened, and its first events be read.

    Args:
        config: with `[sources]`.
        running: a daemon reads its sources itself; only files are looked at then.
        seen: what the first predictions say is added where no daemon runs.
    """
    if not config.sources:
        yield ok("sources", "none configured; events come over HTTP and `flywheel ingest`")
        return
    states = {each.get("name"): each for each in running.status.get("sources") or []}
    for name, table in config.sources.items():
        yield from _one_source(config, name, table, running, states.get(name) or {}, seen)


def _one_source(
    config: Config,
    name: str,
    table: SourceTable,
    running: Running,
    state: Mapping[str, Any],
    seen: SeenTraffic,
) -> Iterator[Finding]:
    from flywheel.sources import find

    title = f"[sources.{name}]"
    try:
        make = find(table.plugin, config.root / "plugins")
    except FlywheelError as error:
        yield fail("sources", f"{title}: {error.message}", error.hint)
        return
    yield from _files_of(title, table)
    if running.daemon is not None:
        problem = state.get("error") or state.get("problem")
        if problem:
            yield warn("sources", f"{title}: {problem}", "flywheel status")
        else:
            yield ok("sources", f"{title}: {table.plugin}, read by the running daemon")
        return
    for option, variable in table.options.items():
        if option.endswith("_env") and not os.environ.get(str(variable)):
            words = f"{title}: no environment variable {variable} (`{option}`), so not opened"
            yield warn("sources", words, "set it where the daemon runs; this shell may differ")
            return
    events: Sequence[Mapping[str, Any]] = ()
    try:
        with closing(make()) as source:
            source.open(table.options, None)
            batch = source.poll(_EVENTS, _POLL_S)
            events = batch.events if batch else ()
    except SourceUnavailable as error:
        yield warn("sources", f"{title}: {error.message}", error.hint or "is it reachable?")
        return
    except FlywheelError as error:
        yield fail("sources", f"{title}: {error.message}", error.hint)
        return
    except Exception as error:  # noqa: BLE001  a plug-in may raise anything
        words = f"{title}: {table.plugin} raises {type(error).__name__}: {error}"
        yield fail("sources", words, f"flywheel plugins check {name}")
        return
    yield _events_of(config, title, table, events, seen)


def _events_of(
    config: Config,
    title: str,
    table: SourceTable,
    events: Sequence[Mapping[str, Any]],
    seen: SeenTraffic,
) -> Finding:
    """Whether the first events can be taken in."""
    if not events:
        return skip("sources", f"{title}: {table.plugin} opens; it has no events to look at")
    from flywheel import formats

    lines = [json.dumps(event, default=str).encode() for event in events]
    parsed = formats.read_lines(
        None,
        lines,
        context_turns=config.intents.context_turns,
        received=datetime.now(UTC),
        max_line_bytes=config.api.max_line_kb * 1024,
    )
    if parsed.predictions:
        seen.add(title, _counts(parsed.predictions))
    looked = f"{title}: {table.plugin}, {plural(len(events), 'event')} looked at"
    destroyed = sum("�" in prediction.text for prediction in parsed.predictions)
    if destroyed:
        words = f"{looked}; {plural(destroyed, 'text')} with characters that were destroyed"
        return warn("sources", words, "set `encoding` to that of the files")
    if parsed.rejected:
        first = parsed.rejected[0]
        why = ": ".join(part for part in (first.field, first.why) if part)
        words = f"{looked}, {len(parsed.rejected):,} of them rejected; the first: {why}"
        return warn("sources", words, "mend them where they are written, or the source's options")
    return ok("sources", f"{looked}, all can be taken in")


def _files_of(title: str, table: SourceTable) -> Iterator[Finding]:
    """Whether there are files where an option says so, and what their first lines are."""
    for option in ("path", "folder"):
        pattern = table.options.get(option)
        if not isinstance(pattern, str) or not pattern or "://" in pattern:
            continue
        if option == "folder":
            if not Path(pattern).is_dir():
                yield warn("sources", f"{title}: no folder {pattern}", "make it, or mend `folder`")
                continue
            pattern = f"{pattern}/*"
        found = [Path(path) for path in glob.glob(pattern, recursive=True)]  # noqa: PTH207
        files = sorted((path for path in found if path.is_file()), key=_changed)
        if not files:
            words = f"{title}: no file matches {pattern} (seen from {Path.cwd()})"
            yield warn("sources", words, f"mend `{option}`, or wait for the first file")
        for path in files[-_FILES:]:
            yield from _head_of(title, table, path)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # it went since it was listed
        return 0.0


def _head_of(title: str, table: SourceTable, path: Path) -> Iterator[Finding]:
    """Whether the first lines of a file have the encoding and the delimiter of the source."""
    from flywheel.file_records import csv_rows, decoding

    try:
        with path.open("rb") as file:
            _, pieces = decoding.uncompressed(file)
            head = next(pieces, b"")[:_HEAD]
    except FlywheelError as error:
        yield warn("sources", f"{title}: {path}: {error.message}", "is the file whole?")
        return
    except OSError as error:
        yield warn("sources", f"{title}: {path} cannot be read: {error.strerror}", "whose is it?")
        return
    if head.startswith(b"PAR1") or table.plugin == "parquet" or b"\x00" in head[:200]:
        return
    encoding = str(table.options.get("encoding") or "")
    whole = head.rpartition(b"\n")[0] or head if len(head) == _HEAD else head
    try:
        text = whole.decode(encoding or "utf-8-sig")
    except LookupError:
        yield fail("sources", f"{title}: {encoding} is no encoding", "mend `encoding`")
        return
    except UnicodeDecodeError as error:
        line = whole.count(b"\n", 0, error.start) + 1
        words = f"{title}: {path}:{line} is not {encoding or 'UTF-8'}"
        yield warn("sources", words, "set `encoding` to that of the files, such as gbk or cp1252")
        return
    delimiter = table.options.get("delimiter")
    first = text.lstrip("\r\n").partition("\n")[0]
    if isinstance(delimiter, str) and delimiter and table.plugin in ("csv", "csv_drop"):
        with suppress(FlywheelError):
            named = csv_rows.checked_delimiter(delimiter)
            sniffed = csv_rows.sniffed(first)
            if named not in first and len(csv_rows.header(first, sniffed)) > 1:
                words = f"{title}: the header of {path} is not cut by {delimiter!r}"
                yield warn("sources", words, f"set delimiter = {sniffed!r}")


# Recent predictions.


def predictions(config: Config, running: Running, seen: SeenTraffic) -> None:
    """Add what recent predictions look like: as the daemon counts them, or as they lie there."""
    if running.daemon is not None:
        with suppress(FlywheelError):  # an older daemon
            seen.add("the daemon", running.daemon.get("traffic").value)
        return
    from dataclasses import asdict

    from flywheel.store import StoreFailed, traffic

    database = config.state_dir / "flywheel.duckdb"
    if database.exists() and not running.trouble:
        with suppress(StoreFailed):  # told by its own check
            stored = traffic.of_closed(database)
            if stored.n:
                seen.add("the database", asdict(stored))
    waiting = list(_of_the_spool(config.state_dir / "spool"))
    if waiting:
        seen.add("the spool", asdict(traffic.counted(waiting)))


def _of_the_spool(folder: Path) -> Iterator[tuple[str, str, int]]:
    """Intent, text and answers of predictions that wait to be loaded."""
    from flywheel.spool import segments

    left = _LINES
    for segment in reversed(segments(folder)):
        with suppress(OSError), segment.open("rb") as file:
            for line in file:
                left -= 1
                if left < 0:
                    return
                with suppress(ValueError, RecursionError):
                    event = json.loads(line)
                    if event.get("kind") == "predictions" and isinstance(event.get("text"), str):
                        answers = int(event.get("answers") or 1)
                        yield str(event.get("intent") or NONE), event["text"], answers


def _counts(read: Sequence[Prediction]) -> dict[str, Any]:
    from dataclasses import asdict

    from flywheel.store import traffic

    return asdict(traffic.counted((each.intent, each.text, each.answers) for each in read))


def named(
    listed: Sequence[Intent], seen: SeenTraffic, golden: Mapping[str, int]
) -> Iterator[Finding]:
    """Whether recent predictions name the intents that there are, and call at all.

    Args:
        listed: the intents.
        seen: of recent predictions.
        golden: rows of the golden set by intent.
    """
    if not seen.n:
        yield skip("traffic", "not looked at: there are no predictions yet")
        return
    from flywheel.diagnosis import input_problems
    from flywheel.metrics import Tallies

    came = Tallies(volume=seen.intents)
    found = input_problems(came, listed, _usual_none(seen, golden), most=len(seen.intents))
    for problem in found:
        yield warn("traffic", problem.what, problem.next_step)
    if not found:
        words = f"{plural(seen.n, 'recent prediction')} of {seen.where}"
        yield ok("traffic", f"{words}; {share(seen.intents[NONE] / seen.n)} without a call")


def labels(running: Running) -> Iterator[Finding]:
    """Whether raters name intents that there are; only a running daemon knows."""
    unknown = (running.status.get("input") or {}).get("unknown_labels") or {}
    for name, count in sorted(unknown.items(), key=lambda pair: (-pair[1], pair[0])):
        said = "1 label says" if count == 1 else f"{count:,} labels say"
        line = f"add [[intent]] name = {json.dumps(name, ensure_ascii=False)} to the intents"
        yield warn(
            "labels",
            f"{said} `{name}`, which is no intent; they count against none",
            f"{line}, or map it: flywheel intents alias {quote(name)} NEW",
        )


def _usual_none(seen: SeenTraffic, golden: Mapping[str, int]) -> float | None:
    """The largest share without a call, before and among golden rows; None where too few are."""
    shares = [
        counts.get(NONE, 0) / sum(counts.values())
        for counts in (seen.earlier, golden)
        if sum(counts.values()) >= _FEW
    ]
    return max(shares, default=None)
