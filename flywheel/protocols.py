"""The four seams of the loop: sources, teachers, executors, serving.

Each promises threading, order and failure, not only types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from flywheel.records import Brief, Job, JobResult


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
class Answer:
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

    def write(self, briefs: Sequence[Brief], kept: AnswerStore) -> Mapping[str, tuple[Answer, ...]]:
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


class Executor(Protocol):
    """Runs jobs. A job's directory is its identity: submitting it again adopts what is there."""

    def run(self, job: Job) -> JobResult:
        """Block until the job has a result; resubmission after a crash adopts a running worker,
        or resumes from its checkpoint.

        Raises:
            JobFailed: the worker died, hung past `job.timeout_s`, or was cancelled.
        """

    def cancel(self, job_id: str) -> None:
        """End the job's process and its children, or keep it from starting when it has none yet."""

    def progress(self, job_id: str) -> Progress | None:
        """How far the job is; None before its first line."""


class Serving(Protocol):
    """What answers production traffic with the champion."""

    def promote(self, adapter_id: str) -> None:
        """Serve this adapter from now on, atomically; harmless when it is served already."""

    def retire(self) -> None:
        """Serve none of the adapters from now on; harmless when none is served."""

    def serving(self) -> str | None:
        """The adapter served now."""
