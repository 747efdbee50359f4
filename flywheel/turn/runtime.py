"""The parts that a turn works with (`Runtime`), and the result of a step (`StepResult`)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from flywheel.bases.fetching import bases_dir
from flywheel.config import Config
from flywheel.diagnosis import Alarm
from flywheel.gates import CustomGate
from flywheel.protocols import Executor, Serving, ServingState, Teacher
from flywheel.records import NONE, Intent, TurnRecord
from flywheel.store import Connection, Store
from flywheel.turn.jobs import Jobs


@dataclass(slots=True, kw_only=True)
class AskedAgain:
    """When an adapter that serves was last asked for evaluated answers, and how it went."""

    asked: tuple[str, str] = ("", "")  # adapter and instance that were asked last, and when
    asked_at: datetime | None = None
    problem: str = ""  # what serves answers otherwise than evaluated


@dataclass(slots=True, kw_only=True)
class RolloutState(AskedAgain):
    """How far the server of the champion is, as far as this process has seen.

    The thread that rolls out writes it; others read it. Nothing is decided by it that is not
    asked again after a start.
    """

    wake: threading.Event = field(default_factory=threading.Event)  # there is something to do
    server: ServingState | None = None  # as it was last seen; None: it is away, or not asked yet
    proved: tuple[str, str] = ("", "")  # prepared adapter, and the instance that passed with it
    waiting: str = ""  # what is not done yet, and why
    earlier: AskedAgain = field(default_factory=AskedAgain)  # the other arm of a watch


@dataclass(slots=True, kw_only=True)
class DriftState:
    """What the alarms say of the last whole week; worked out anew after a start."""

    week: int = -1  # its number since 1970; -1: not looked at yet
    champion: str | None = None  # whose answers were looked at
    alarms: tuple[Alarm, ...] = ()  # that had enough to compare


@dataclass(slots=True, kw_only=True)
class Runtime:
    """The parts of the loop, and the signals between its threads.

    A reload replaces configuration, intents, teacher and custom gates together, while no turn is
    open; [promotion] is replaced at once. Other parts are never replaced.
    """

    config: Config
    intents: tuple[Intent, ...]
    store: Store
    executor: Executor
    serving: Serving
    teacher: Teacher | None  # None: no samples are written for failing intents
    clock: Callable[[], datetime]  # UTC, timezone-aware
    custom_gates: tuple[CustomGate, ...] = ()  # of [gates.NAME] plugin
    reconciling: threading.Lock = field(default_factory=threading.Lock)  # held by `reconcile`
    wake: threading.Event = field(default_factory=threading.Event)  # a step may be ready to run
    stopping: threading.Event = field(default_factory=threading.Event)  # run no further step
    forged: str = ""  # what of champions and decisions nobody decided, found at the start
    rollout: RolloutState = field(default_factory=RolloutState)
    unserved: str = ""  # why the champion of the database is not served as it was trained
    unasked: str = ""  # why the champion could not be asked what is labelled
    drift: DriftState = field(default_factory=DriftState)
    cancelled_jobs: dict[str, threading.Event] = field(default_factory=dict, init=False)  # by id

    @property
    def known_intents(self) -> frozenset[str]:
        """Names a prediction or sample may carry today, `none` included."""
        return frozenset(intent.name for intent in self.intents) | {NONE}

    @property
    def adapters_dir(self) -> Path:
        """Directory with one subdirectory per adapter (its id) and the symlink `champion`."""
        return self.config.state_dir / "adapters"

    @property
    def datasets_dir(self) -> Path:
        """Directory with one Parquet file per dataset, named by its id."""
        return self.config.state_dir / "datasets"

    @property
    def jobs(self) -> Jobs:
        """The jobs of all turns, as the executor runs them."""
        return Jobs(self.executor, self.config.state_dir / "jobs", self.cancelled_jobs)

    def job_dir(self, job_id: str) -> Path:
        """Directory of a job's input and result."""
        return self.config.state_dir / "jobs" / job_id

    def worker_spec(self) -> dict[str, object]:
        """The part of a job's specification that is the same for every job: the base model."""
        model = self.config.model
        return {
            "base": model.base,
            "device": model.device,
            "threads": model.threads,
            "max_length": model.max_length,
            "cache_dir": str(self.config.state_dir / "cache"),
            "bases_dir": str(bases_dir(self.config.state_dir)),
            "seed": self.config.training.seed,
        }

    @property
    def job_timeout_s(self) -> float:
        """Seconds after which a worker counts as hung."""
        return self.config.training.timeout_minutes * 60


def _unchanged(record: TurnRecord) -> TurnRecord:
    return record


def _nothing(con: Connection) -> None:
    """Write nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """A finished step: where the turn goes next, and what is written with that move."""

    next_state: str  # a step's name, or a state of ENDED
    detail: str  # one sentence for `turn show`
    outputs: Callable[[TurnRecord], TurnRecord] = _unchanged  # the record with its fields set
    writes: Callable[[Connection], None] = _nothing  # in the same transaction as the move
    state: Literal["done", "skipped"] = "done"
    cost_usd: float = 0.0
