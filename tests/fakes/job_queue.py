"""A queue outside, as a scheduler of a cluster is one: its own folder, its own view of each job."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from flywheel.protocols import Handle, JobPhase, JobState
from flywheel.records import Job

Step = str | Callable[[], str]
"""A phase that a poll tells, or "result": the job has written it, and the queue says it runs."""


@dataclass
class Entry:
    """One submission, and what polls will tell of it; the last one again and again."""

    job: str
    steps: list[Step]
    outside: dict[str, str] = field(default_factory=dict)  # files in the queue's own folder
    cancelled: bool = False


class JobQueue:
    """Takes jobs and outlives whoever asks it."""

    def __init__(self, *lives: Iterable[Step]) -> None:
        """Script one life for each submission, in order."""
        self.lives = [list(life) for life in lives]
        self.entries: dict[Handle, Entry] = {}

    def take(self, job_id: str) -> Handle:
        handle = f"q-{len(self.entries) + 1}"
        self.entries[handle] = Entry(job_id, self.lives[len(self.entries)])
        return handle

    def cancelled(self) -> list[Handle]:
        return [handle for handle, entry in self.entries.items() if entry.cancelled]


class QueueExecutor:
    """An executor over a `JobQueue`; a daemon that starts anew makes a new one."""

    kind = "queue"
    pause_s = 0.0

    def __init__(self, queue: JobQueue, grace_s: float = 0.0) -> None:
        self.queue = queue
        self.grace_s = grace_s

    def find(self, job_id: str) -> Handle:
        living = (
            handle
            for handle, entry in self.queue.entries.items()
            if entry.job == job_id and not entry.cancelled and entry.steps[0] in ALIVE
        )
        return next(living, "")

    def submit(self, job: Job, folder: Path) -> Handle:
        return self.find(job.id) or self.queue.take(job.id)

    def poll(self, handle: Handle) -> JobState:
        entry = self.queue.entries.get(handle)
        if entry is None or entry.cancelled:
            return JobState(phase=JobPhase.GONE)
        step = entry.steps.pop(0) if len(entry.steps) > 1 else entry.steps[0]
        said = step if isinstance(step, str) else step()
        if said == "result":
            told = {"id": entry.job, "ok": True, "values": {"from": handle}, "error": ""}
            entry.outside["result.json"] = json.dumps({**told, "seconds": 1.0})
            said = "running"
        return JobState(phase=JobPhase(said))

    def cancel(self, handle: Handle) -> None:
        if entry := self.queue.entries.get(handle):
            entry.cancelled = True

    def fetch(self, handle: Handle, folder: Path) -> None:
        if entry := self.queue.entries.get(handle):
            for name, text in entry.outside.items():
                (folder / name).write_text(text, encoding="utf-8")


ALIVE = ("queued", "running", "result")
