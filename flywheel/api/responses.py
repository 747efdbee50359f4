"""The JSON that `views` and `review` answer; `--json` of a command prints the same.

The OpenAPI document describes each route's answer by one of these Structs, or by one beside its
handler. Where another floor builds an answer as a plain object, a test holds it against the
description. Times are ISO 8601 in UTC, rates fractions in
0..1, money US dollars.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import UNSET, UnsetType

from flywheel.api.evidence_views import AheadView, GenerationView, OfferView
from flywheel.api.health_views import HealthStatusView
from flywheel.api.personal import Raters, Text, Texts, View
from flywheel.api.rollout_views import ChampionServingView, ParityView
from flywheel.api.traffic_views import FirstChampionView, TrafficCostView
from flywheel.api.watch_views import WatchView
from flywheel.records import (
    DecisionStatus,
    DecisionVerdict,
    FailureClass,
    IntentVerdict,
    Verdict,
)
from flywheel.store import Store

# Production: intents and what the daemon is doing.


class ProgressView(View):
    """How far the job of a turn's step is."""

    done: float  # fraction
    detail: str
    eta_s: float | None


class TurnLineView(View):
    """A turn in a line: what it is, what opened it, how far it is."""

    id: str
    state: str  # the step to run next, or how it ended
    trigger: str
    opened_at: str
    cost_usd: float
    decision: str | None
    progress: ProgressView | None


class BacklogView(View):
    """Events stored, and what waits."""

    predictions: int
    feedback: int
    labelled: int
    waiting_feedback: int
    rejected: int
    id_conflicts: int
    labels_wanted: dict[str, int]  # by intent
    held: list[str]  # decisions that wait


class AuditView(View):
    """The share of right answers by the audit sample, with its interval."""

    n: int
    errors: int
    accuracy: float | None
    low: float
    high: float
    skipped: int
    disputed: int


class SourceView(View):
    """How a source does."""

    name: str
    plugin: str
    state: str
    events: int
    last_event_at: str | None
    error: str | None
    backoff_s: float | None
    stuck: bool = False  # it fails again and again at the same place


class ArchiveView(View):
    """Events that left the tables for files."""

    predictions: int
    feedback: int
    files: int
    before: str | None
    keep_days: int


class GoldenSetView(View):
    """The current golden generation."""

    generation: int | None
    rows: int  # that judge, without labels bought since
    queries_left: int
    learned: int = 0  # rows of it that have retired into training


class LoadedView(View):
    """What became of the events that were loaded since the start."""

    new: int
    known: int
    conflicts: int  # another event is stored under the id


class InputView(View):
    """What is special of the events that came in."""

    loaded: LoadedView | None  # None: nothing is loaded here
    none_share: float | None  # of recent predictions: those without a call
    unknown: list[str]  # names that are no intent
    unknown_labels: dict[str, int]  # labels of names that are no intent
    scores: int  # of other tools, as seen
    scores_counted: int  # that are verdicts


class RedoView(View):
    """The log of transactions beside the database."""

    bytes: int  # since the last checkpoint that was read back
    proved_at: str | None  # when that was; None: not since the daemon's start
    replayed: int  # transactions that the database lacked at the start, and got from it
    lost: int  # of those, what could not be read or repeated

    @classmethod
    def of(cls, store: Store, proved_at: datetime | None) -> RedoView:
        """The log of an open database."""
        return cls(
            bytes=store.log.size if store.log is not None else 0,
            proved_at=proved_at.isoformat() if proved_at else None,
            replayed=store.recovered.replayed,
            lost=store.recovered.lost,
        )


class StatusView(View):
    """What the daemon is doing, and what waits for a person."""

    version: str
    uptime_s: float
    champion: str | None
    first_champion: FirstChampionView | None
    turn: TurnLineView | None
    next_turn: str | None
    backlog: BacklogView
    audit: AuditView
    health: HealthStatusView
    costs: list[TrafficCostView]
    sources: list[SourceView]
    serving: ChampionServingView
    watch: WatchView
    archive: ArchiveView
    redo: RedoView
    golden: GoldenSetView
    input: InputView
    overrides: list[str]  # variables of the environment that go before config.toml
    problems: list[str]


# Turns.


class StepView(View):
    """One step of a turn."""

    name: str
    state: str
    seconds: float | None  # None while it runs
    detail: str


class TurnView(TurnLineView):
    """A turn with its steps."""

    closed_at: str | None
    error: str | None
    steps: list[StepView]


class BriefView(View):
    """What the teacher is asked for, why, and what it is expected to mend."""

    intent: str
    neighbour: str | None
    failure: FailureClass
    ask: int  # samples
    expected: float | None  # errors mended
    usd: float | None
    why: str


class TurnDetailView(TurnView):
    """A turn with its steps and what they left."""

    briefs: list[BriefView]
    written: dict[str, int]  # samples by intent
    refused: dict[str, int]  # samples by reason
    noise: dict[str, Any]  # wrong labels: refused, down_weighted, estimated precision, on_dev
    held_out: dict[str, str]  # ids: of a seed that is not learned, the sample it is near
    raters: Raters
    spread: dict[str, Any]
    dataset: str | None
    challenger: str | None
    labels_wanted: dict[str, int]


class PromptedBriefView(BriefView):
    """A brief with the prompts that would leave the machine."""

    prompts: list[str]


class SynthesisView(View):
    """What a turn would ask the teacher now."""

    requests: int
    samples: int
    usd: float
    max_usd: float | None
    briefs: list[PromptedBriefView]


# Decisions, and what their reviewer looks at.


class GateView(View):
    """One gate's verdict with the numbers it rests on."""

    gate: str
    verdict: Verdict
    effect: float | None
    low: float | None
    value: float | None
    threshold: float | None
    n: int  # units judged
    labels_needed: int
    detail: str
    measures: str  # what `value` is; "" where nobody says


class _DecisionView(View):
    """What is shown of a decision everywhere."""

    id: str
    turn: str | None
    challenger: str
    champion: str | None
    verdict: DecisionVerdict
    status: DecisionStatus
    waits_for: str | None
    by: str
    because: str
    at: str
    gates: list[GateView]


class DecisionView(_DecisionView):
    """A decision with its gates."""

    intents: tuple[IntentVerdict, ...]


class ComparedIntentView(View):
    """An intent's verdict with its change in recall and the 95 % interval of it."""

    intent: str
    n: int
    champion_recall: float | None
    challenger_recall: float | None
    losses: int
    gains: int
    e_value: float | None
    f_value: float | None
    verdict: Verdict
    labels_needed: int
    change: float | None
    low: float | None
    high: float | None
    rows: int  # golden rows that the challenger answered


class RightShareView(View):
    """Golden rows answered, and the share that was right."""

    n: int
    right: float | None


class GoldenShareView(View):
    """The golden rows by both models."""

    champion: RightShareView
    challenger: RightShareView


class SliceView(View):
    """Accuracy before and after in a slice of the golden rows."""

    slice: str
    n: int
    before: float
    after: float
    change: float | None
    low: float | None
    high: float | None


class CalibrationBinView(View):
    """Confidence against accuracy in a tenth of confidence."""

    confidence: float
    accuracy: float
    n: int


class CalibrationView(View):
    """The bins of both models."""

    champion: list[CalibrationBinView]
    challenger: list[CalibrationBinView]


class ConfusionView(View):
    """How often a wrong answer was given, before and after."""

    intent: str
    answer: str
    before: int
    after: int


class ExampleView(View):
    """A golden example that the challenger answers in another way than the champion."""

    sample: str
    text: Text
    intent: str
    before: str | None
    after: str | None
    must_pass: bool
    confidence: float | None


class AddedSampleView(View):
    """A sample that the champion was not trained on."""

    text: Text
    intent: str
    origin: str


class TrainingView(View):
    """Where the challenger's samples came from; less where the challenger is not known."""

    by_origin: dict[str, int]
    added: list[AddedSampleView]
    added_total: int
    refused: dict[str, int]
    added_by_intent: dict[str, int] | UnsetType = UNSET
    by_rater: dict[str, int] | UnsetType = UNSET
    raters: Raters | UnsetType = UNSET
    cost_usd: float | UnsetType = UNSET


class WordingView(View):
    """A new wording that few raters taught, and what it does to other texts."""

    wording: Text
    intent: str
    voices: int  # independent raters who taught it
    texts: int  # learned ones that have it
    asked: int  # other texts into which it was put
    turned: int  # of them, those that only the challenger answers with the intent
    learned: Texts
    examples: Texts  # of turned texts, as they are without the wording


class IntentVoicesView(View):
    """Who taught what is new of an intent."""

    texts: int
    voices: int
    largest: float  # share of the texts that the busiest voice gave, 0..1


class ChangedAnswersView(View):
    """What changed beside the golden set."""

    recent: int  # production texts asked of both models
    moved: dict[str, int]  # texts answered otherwise than before, by the new intent
    wordings: list[WordingView]  # those that turn most first
    taught: dict[str, IntentVoicesView]  # by intent


class DecisionEventView(View):
    """What happened to a decision."""

    at: datetime
    by: str
    what: str  # the verdict, later the new status
    because: str


class DecisionDetailView(_DecisionView):
    """A decision with what a person needs to judge it."""

    intents: list[ComparedIntentView]
    golden: GoldenShareView
    slices: list[SliceView]
    calibration: CalibrationView
    confusions: list[ConfusionView]
    would: str
    watched: str  # whether the watch may roll it back by itself; "" where not
    summary: str
    fixed: list[ExampleView]
    broken: list[ExampleView]
    training: TrainingView
    changed: ChangedAnswersView
    parity: ParityView | None
    labels_wanted: dict[str, int]
    ahead: AheadView | None  # what deciding takes; None where nothing was compared
    generation: GenerationView | None  # the golden generation of now; None without one
    rests_on: dict[str, str]
    offers: list[OfferView]
    events: list[DecisionEventView]


class ActView(View):
    """What somebody did, or tried to do, besides deciding: an event of the chain."""

    number: int  # of the event
    at: datetime
    by: str
    what: str  # kind of act, such as golden.imported, or refused
    because: str  # ids, counts and reasons


class AdapterView(View):
    """An adapter and how it was made."""

    id: str
    base: str
    recipe: str
    dataset: str
    parent: str | None
    created_at: str
    state: str
    metrics: dict[str, Any]
    files: dict[str, str]  # SHA-256 of each, as trained


class CheckedView(View):
    """One check of a decision's verification."""

    what: str
    ok: bool
    detail: str


class VerifiedView(View):
    """A decision judged again from its stored outcomes."""

    id: str
    same: bool
    evidence: str | None  # digest of what is stored now
    checks: list[CheckedView]


class DisputedView(View):
    """A golden sample that was set aside or put back."""

    sample: str
    disputed: bool
    standing: int  # samples in dispute now
    from_generation: int  # golden generation that this word counts from
    generation: int  # the current one
