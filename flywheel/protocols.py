"""The four seams of the loop: sources, teachers, executors, serving.

Each promises threading, order and failure, not only types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from flywheel.records import Brief, Job, ServedAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Events as the source has them, native or foreign, oldest first."""

    events: Sequence[Mapping[str, Any]]
    cursor: str  # the position after the last event


class Source(Protocol):
    """Where events come from. One thread calls it, never two at once."""

    def open(self, options: Mapping[str, Any], cursor: str | None) -> None:
        """Get ready to read after `cursor`; None means from the start.

        Raises:
            FlywheelError: an option is wrong; the message names it.
            SourceUnavailable: try again later.
        """

    def poll(self, limit: int, timeout: float) -> Batch | None:
        """Return up to `limit` events after the cursor, oldest first; None when there are none
        within `timeout` seconds.

        Raises:
            SourceUnavailable: try again later; nothing was consumed.
        """

    def ack(self, cursor: str) -> None:
        """The events up to `cursor` are committed. May be called again for the same cursor."""

    def close(self) -> None:
        """Let go of every resource; called once, also after an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blind:
    """What the teacher makes of a text when it is not told what the text was written for."""

    intent: str | None  # None: it was asked and gave no usable answer
    arguments: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One sample as a teacher wrote it, before curation."""

    text: str
    intent: str
    arguments: Mapping[str, Any] | None = None
    blind: Blind | None = None  # None: it was not asked


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherAnswer:
    """A teacher's answer to one request."""

    request: str  # hash of the request's content
    drafts: tuple[Draft, ...]
    problems: tuple[str, ...] = ()  # what could not be read of the answer
    usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    bought: bool = True  # False when the answer was already stored


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """One paid answer, kept before it is used."""

    key: str  # hash of the request's content
    request: Mapping[str, Any]
    response: Mapping[str, Any]
    usd: float
    input_tokens: int
    output_tokens: int


class AnswerStore(Protocol):
    """Keeps every paid answer. Called from one thread."""

    def get(self, keys: Sequence[str]) -> Mapping[str, StoredAnswer]:
        """The answers kept for these requests, by key; without those that were never bought."""

    def put(self, answers: Sequence[StoredAnswer]) -> None:
        """All of them durable when it returns, or none."""


class Teacher(Protocol):
    """Writes samples. Called from one thread; it may run requests concurrently inside."""

    def write(
        self, briefs: Sequence[Brief], kept: AnswerStore
    ) -> Mapping[str, tuple[TeacherAnswer, ...]]:
        """Return answers by brief id; a brief whose requests all failed has none.

        Raises:
            TeacherUnavailable: no request could be answered; what was paid for is kept.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The last line of a job's progress.jsonl."""

    done: float = 0.0  # fraction 0..1
    detail: str = ""
    eta_s: float | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


Handle: TypeAlias = str
"""What an executor calls a job that it has taken; "" while it has none."""


class JobPhase(Enum):
    """Where a job is, as far as the executor can tell."""

    QUEUED = "queued"  # taken, and waits for its turn
    RUNNING = "running"
    DONE = "done"  # ended by itself, and well
    FAILED = "failed"  # ended by itself, and not well: once more would end the same
    GONE = "gone"  # killed, preempted, cancelled from outside, or not known: once more may do


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """What an executor says of a job. The job's folder is the truth, this is a hint."""

    phase: JobPhase
    why: str = ""  # of a bad end, for people: "exit 3"

    @property
    def alive(self) -> bool:
        """Whether a result may still come of it."""
        return self.phase in (JobPhase.QUEUED, JobPhase.RUNNING)


class Executor(Protocol):
    """Where jobs run: on this machine, or in a queue outside.

    A job is its folder: `job.json` and its inputs go in, and `result.json` comes last. It outlives
    the daemon, so it has a name, its id, under which it is found again. One thread submits and
    polls a job; any thread may cancel it meanwhile. `turn.jobs` is the one loop that waits.
    """

    kind: str
    """Its name in the registry, noted with each job."""

    pause_s: float
    """Between two polls."""

    grace_s: float
    """So long a bad state is not believed while the folder has no result; 0 where the folder is
    shared and the state exact."""

    def find(self, job_id: str) -> Handle:
        """The handle of a job that is queued or running under this name; "" for none."""

    def submit(self, job: Job, folder: Path) -> Handle:
        """Have the job done in this folder, which holds its input.

        The same job gives the same handle while it is queued or running: it is looked up by its
        name first. One that has ended is begun again, from the checkpoint in its folder.

        Raises:
            FlywheelError: it was not taken; the message says why.
            OSError: there is no room, for example.
        """

    def poll(self, handle: Handle) -> JobState:
        """How the job is. Never raises: one that is not known is GONE; where the executor cannot
        be asked for now, what it said last."""

    def cancel(self, handle: Handle) -> None:
        """End the job with all its processes, and forget it; harmless when it has ended."""

    def fetch(self, handle: Handle, folder: Path) -> None:
        """Bring into the folder what the job has written by now, `result.json` whole and last.

        Nothing to do where the folder is shared; what cannot be brought now is brought next time.
        """


class Serving(Protocol):
    """What answers production traffic with the champion. One thread calls it, never two at once.

    The database says who the champion is; serving follows, and may be behind. Each call leaves it
    at the old adapter or at the new one, never at neither, and may be repeated.
    """

    immediate: bool
    """Whether its calls take milliseconds and reach nothing outside this machine: then they are
    made while a person waits for the answer to an approval. Others are made by a thread."""

    def promote(self, adapter_id: str) -> None:
        """Serve this adapter from now on, atomically; harmless when it is served already.

        Raises:
            NotFound: the adapter has no folder.
            ServingAway: it cannot be reached now; nothing was changed, or all of it.
            FlywheelError: it cannot be served, and the message says why.
        """

    def retire(self) -> None:
        """Serve none of the adapters from now on; harmless when none is served. Raises as
        `promote` does."""

    def serving(self) -> str | None:
        """The adapter served now, as far as is known without asking outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingState:
    """What a server says of itself."""

    adapter: str | None  # that answers traffic
    loaded: tuple[str, ...] = ()  # this one, and those that were prepared beside it
    engine: str = ""
    instance: str = ""  # another one where the process, or what it has loaded, is another


@runtime_checkable
class AskedServing(Serving, Protocol):
    """Serving that can be asked for an adapter's answers before the adapter takes over.

    With such a kind nothing becomes champion before its answers are those that were evaluated.
    """

    def state(self) -> ServingState:
        """What serves, and by which process.

        Raises:
            ServingAway: it cannot be reached now.
        """

    def prepare(self, adapter_id: str) -> ServingState:
        """Have the adapter loaded beside the one that serves; harmless when it is there already.

        Traffic is answered as before.

        Raises:
            ServingAway: it cannot be reached now; try again later.
            NotLoaded: it cannot load this adapter; once more would end the same.
        """

    def ask(self, adapter_id: str, texts: Sequence[str]) -> list[ServedAnswer | None]:
        """Answers of an adapter that is prepared or serves, through the path of traffic.

        One for each text, in order; None where it gave none. What is asked is no traffic: it is
        not logged.

        Raises:
            ServingAway: it cannot be reached now, or has lost the adapter meanwhile.
        """

    def drop(self, adapter_id: str) -> None:
        """Let go of an adapter that was prepared and does not take over. Harmless for another;
        nothing is raised where the server is away, since it forgets by itself."""
