"""The records that flow through the loop, from a prediction to a decision.

Frozen, slotted, keyword-only; each refuses nonsense at birth. Times are UTC and
timezone-aware, rates are fractions in 0..1, money is US dollars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

NONE = "none"
"""The intent of a text that asks for no call (out of scope)."""

Arguments = Mapping[str, Any]
Split = Literal["train", "dev", "golden", "fresh"]
Origin = Literal["seed", "feedback", "teacher", "person"]
ScoreKind = Literal["flag", "number", "label", "text", "correction"]
VerdictOnPrediction = Literal["correct", "incorrect", "corrected"]
RaterKind = Literal["user", "expert", "rule", "model"]
Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]
FailureClass = Literal[
    "wrong_intent",
    "should_abstain",
    "abstained",
    "missing_argument",
    "extra_argument",
    "wrong_argument",
    "malformed",
    "unseen_wording",
    "unseen_slice",
    "border",  # does not fail, but stands beside an intent that does
]
ArmName = Literal["", "champion", "earlier"]
DecisionVerdict = Literal["promote", "hold", "reject", "rollback"]
DecisionStatus = Literal["pending", "applying", "applied", "parity_failed", "rejected", "expired"]
"""applying: decided, and not in service before the server is seen to answer as evaluated.
parity_failed: it did not, and the champion stayed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A function the model may call, in the OpenAI tool format."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)  # JSON Schema of an object
    critical: bool = False  # judged with the narrower margin
    renamed_from: tuple[str, ...] = ()
    split_from: tuple[str, ...] = ()
    merged_from: tuple[str, ...] = ()

    def argument_names(self) -> frozenset[str]:
        """Names of the arguments the schema knows."""
        return frozenset(self.parameters.get("properties", {}))


# Kinds of events. Each Struct declares the columns of its table; `event_columns` derives the
# Arrow schema, the JSON form and the readers from it.

_Time = Annotated[datetime, msgspec.Meta(tz=True)]
_Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Cost = Annotated[float, msgspec.Meta(ge=0)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]


class Call(msgspec.Struct, frozen=True):
    """One function call of an answer, or of what would have been right."""

    intent: str
    arguments: Arguments | None = None  # None: not said, or not judged


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One answer given in production; written once, never updated.

    What was logged of one exchange (one text of a person in one trace) is one prediction: of the
    records with the same `exchange` the one with the highest `precedence` counts, then the
    earliest. The ids and aliases of all of them name it.
    """

    id: str  # chosen by the caller; repeats are ignored
    ts: _Time
    text: str
    intent: str
    arguments: Arguments = {}
    confidence: _Fraction | None = None  # None when the producer gives none
    adapter: str = ""  # "" when the producer does not say
    latency_ms: float | None = None
    slices: Mapping[str, str] = {}
    calls: tuple[Call, ...] = ()  # of an answer with several; `intent`, `arguments` are the first
    aliases: tuple[str, ...] = ()  # other ids of it: of the response, span, trace, request
    session: str = ""  # whose conversation; an identity, never summed
    rater: str = ""  # who asked; an identity, never summed
    tools: str = ""  # fingerprint of the tool list that was offered
    malformed: bool = False  # the call's arguments were broken; what could be read is here
    exchange: str = ""  # trace and text, where several records of one exchange may come
    precedence: int = 0  # among the records of one exchange
    answers: _Count = 1  # that it stands for, where not all are logged; labels judge it alone
    cost_usd: _Cost | None = None  # of all of them; None: not known
    arm: ArmName = ""  # while a promotion is watched: the new champion gave it, or the earlier one

    def __post_init__(self) -> None:
        _refuse_naive(self.ts, f"prediction {self.id}")
        if self.answers < 1:
            raise ValueError(f"prediction {self.id}: `answers` is {self.answers}, not 1 or more")
        if self.cost_usd is not None and not self.cost_usd >= 0:
            raise ValueError(f"prediction {self.id}: `cost_usd` is {self.cost_usd}, not 0 or more")
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            raise ValueError(
                f"prediction {self.id}: `confidence` is {self.confidence}, not in 0..1"
            )


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict on a prediction; the latest by (ts, id) counts."""

    id: str
    prediction_id: str  # may not have arrived yet
    ts: _Time
    verdict: VerdictOnPrediction
    intent: str | None = None  # the right one; required when `verdict` is "corrected"
    arguments: Arguments | None = None
    rater: str = ""
    rater_kind: RaterKind = "user"
    calls: tuple[Call, ...] = ()  # several right calls; `intent`, `arguments` are the first
    score: str = ""  # "SOURCE:NAME" of the score it was read from; "" for a verdict as sent

    def __post_init__(self) -> None:
        _refuse_naive(self.ts, f"feedback {self.id}")
        if self.verdict == "corrected" and not self.intent:
            raise ValueError(f"feedback {self.id}: `verdict` is corrected but `intent` is missing")


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """What a foreign tool said of a prediction, as seen; `feedback.scores` decides if it counts."""

    id: str  # of the feedback that it becomes, where it counts
    prediction_id: str
    ts: _Time
    source: str  # the format it came in
    name: str
    kind: ScoreKind
    value: float | None = None  # of a flag 1 or 0
    label: str = ""  # a category, or a text that somebody wrote
    calls: tuple[Call, ...] = ()  # of a correction; none: no call would be right
    rater: str = ""
    rater_kind: RaterKind = "user"
    person: bool = False  # its source says that a person gave it

    def __post_init__(self) -> None:
        _refuse_naive(self.ts, f"score {self.id}")


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A labelled text."""

    id: str  # content hash, `datasets.sample_id`
    text: str
    intent: str
    arguments: Arguments | None = None  # None: the arguments were not judged
    origin: Origin
    split: Split
    must_pass: bool = False
    family: str = ""  # id of a paraphrase family; "" stands for the sample itself
    slices: Mapping[str, str] = {}
    provenance: Mapping[str, Any] = {}  # brief, request, prediction, rater…
    weight: float = 1.0  # in training


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A sample that curation kept out, and why."""

    sample: Sample
    reason: str  # machine word: duplicate, near_duplicate, leak, label_noise, schema, split, …
    detail: str = ""  # for a person: against which sample, which rule, which number


ShownBy = Literal["audit", "feedback", "dev"]
StreamKind = Literal["nothing", "feedback", "complaints", "praise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentHealth:
    """How today's champion does on an intent, from labelled predictions.

    A labelled prediction concerns an intent when the intent was predicted or was right;
    it is an error when the two differ (or the arguments were corrected).
    """

    intent: str
    predictions: int  # times predicted
    feedback: int  # labelled predictions that concern the intent
    errors: int
    error_rate: float | None  # errors / feedback; None without feedback
    low: float  # Wilson interval of error_rate
    high: float
    failing: bool  # shown by evidence, never by a point estimate
    suspect: bool = False  # evidence leans against it and does not show it
    cleared: bool = False  # labels drawn by lot leave little doubt that it does well
    shown_by: tuple[ShownBy, ...] = ()  # the evidence by which it fails
    stream: StreamKind = "nothing"  # how its volunteered labels came; praise: nobody complained
    audit_n: int = 0  # of `feedback`: labels drawn by lot
    audit_errors: int = 0
    audit_wanted: int = 0  # about how many more labels by lot would tell whether it fails
    confused_with: tuple[tuple[str, int], ...] = ()  # neighbours, most confused first
    trend: Literal["worse", "better", "flat", "unknown"] = "unknown"
    dev_n: int = 0  # the champion's own evaluation on the dev split
    dev_errors: int = 0

    @property
    def state(self) -> Literal["failing", "suspect", "healthy", "unknown"]:
        """What the evidence comes to; where it is missing, nothing is called healthy."""
        if self.failing or self.suspect:
            return "failing" if self.failing else "suspect"
        return "healthy" if self.cleared else "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What the teacher is asked to write, and why."""

    id: str
    intent: Intent
    neighbour: Intent | None  # the intent it is confused with
    failed_texts: tuple[str, ...]  # production text: data, never instruction
    examples: tuple[str, ...]  # accepted samples of the intent
    contrast: tuple[str, ...]  # accepted samples of the neighbour
    ask: int  # samples wanted
    why: str  # one sentence with the numbers
    failure: FailureClass = "wrong_intent"
    vary: tuple[str, ...] = ()  # attributes in which the samples should differ
    slices: Mapping[str, str] = field(default_factory=dict)  # in which it fails; {} for anywhere
    rated: str = ""  # the intent whose failures these are: `intent`, or what it borders on
    rate: float = 0.0  # error rate of that one when this was written
    expected: float = 0.0  # errors that the samples are expected to mend
    usd: float = 0.0  # expected cost; 0 where no price is known


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRecord:
    """What the steps of a turn left for later steps; each step sets fields of its own.

    A field keeps its default until its step has run. It is stored as one JSON object, so a new
    field needs no migration.
    """

    # diagnose
    briefs: tuple[Brief, ...] = ()
    # synthesize
    written: Mapping[str, int] = field(default_factory=dict)  # samples by intent
    # curate
    dataset: str = ""  # id of the dataset to train on
    by_origin: Mapping[str, int] = field(default_factory=dict)  # its samples by origin
    new: int = 0  # samples that the champion's dataset lacks
    refused: Mapping[str, int] = field(default_factory=dict)  # samples kept out, by reason
    noise: Mapping[str, Any] = field(default_factory=dict)  # wrong labels: `turn.curate`
    held_out: tuple[tuple[str, str], ...] = ()  # ids: a seed not learned, the sample it is near
    raters: Mapping[str, Any] = field(default_factory=dict)  # by rater: how far it is believed
    spread: Mapping[str, float] = field(default_factory=dict)  # by intent: diversity of samples
    # train
    challenger: str = ""  # id of the adapter
    champion: str | None = None  # what the challenger is compared with; None: it is the first
    # evaluate
    hashes: Mapping[str, str] = field(default_factory=dict)  # by adapter: its content as evaluated
    latency_ms: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # by role
    round: int = 0  # evaluations so far; bought labels cause further ones
    asked: Mapping[str, int] = field(default_factory=dict)  # labels bought in this turn, by intent
    changed: Mapping[str, Any] | None = None  # answers that changed, with texts: `turn.probes`
    # gate
    judgement: Mapping[str, Any] | None = None  # a `gates.Judgement` as JSON
    evidence: Mapping[str, Any] = field(default_factory=dict)  # a `gates.Evidence` without rows
    revision: int = 0  # of the evaluation's report that was judged
    seal: str = ""  # hash of the golden generation
    generation: int = 0  # of the golden set
    queries: tuple[int, int] = (0, 0)  # of the generation: asked before this one, and capacity
    rules: Mapping[str, Any] | None = None  # the gates' rules and plug-ins judged by, as JSON
    # decide
    decision: str = ""
    labels_wanted: Mapping[str, int] = field(default_factory=dict)  # by intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The samples one adapter is trained on and chosen with; never golden or fresh."""

    id: str  # "ds-" + content hash
    path: str  # Parquet, relative to state_dir
    train: int
    dev: int
    by_origin: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A heavy step, run in a child process over a directory."""

    id: str  # also the directory's name under jobs/
    kind: Literal["train", "predict", "crossfit", "noise_check"]
    spec: Mapping[str, Any]  # written to job.json
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """What a job left behind in result.json."""

    id: str
    ok: bool
    values: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """LoRA weights, heads and metadata, named by content hash."""

    id: str  # "a-" + content hash; any other name is a production model known by its answers
    base: str
    recipe: str
    dataset: str
    parent: str | None
    created_at: datetime
    state: Literal["challenger", "champion", "retired", "rejected", "external"]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)  # SHA-256 of each, by name, as trained


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What champion and challenger answered on one evaluation row."""

    sample: str
    split: Split
    intent: str  # the truth
    champion_intent: str | None  # None: the champion has no answer for this row
    challenger_intent: str | None
    champion_correct: bool | None  # intent right, and arguments where the sample has them
    challenger_correct: bool | None
    champion_confidence: float | None = None
    challenger_confidence: float | None = None
    family: str = ""
    must_pass: bool = False
    bought: bool = False  # a label that a gate asked for, after the generation was sealed
    slices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Per-example outcomes of a challenger against the champion, on the same rows."""

    champion: str
    challenger: str
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedAnswer:
    """What an adapter answered to a sample when the worker evaluated it; parity is asked by it."""

    sample: str
    intent: str  # as the adapter names it: a former name stays one
    arguments: Arguments = field(default_factory=dict)
    confidence: float | None = None  # None: of an adapter that gives none
    margin: float | None = None  # of the score above the threshold of `none`; None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedAnswer:
    """What a server answered to a text."""

    adapter: str  # as the server says
    intent: str
    arguments: Arguments
    confidence: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """One gate's verdict with the numbers it rests on."""

    gate: str
    verdict: Verdict
    effect: float | None = None  # e.g. difference of accuracies
    low: float | None = None  # its lower bound, where the gate has one
    value: float | None = None  # the statistic: p- or e-value
    threshold: float | None = None  # what `value` was held against
    n: int = 0  # units judged
    labels_needed: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentVerdict:
    """One intent's line in a decision: before, after and the gate's word."""

    intent: str
    n: int
    champion_recall: float | None
    challenger_recall: float | None
    losses: int
    gains: int
    e_value: float | None
    f_value: float | None
    verdict: Verdict
    labels_needed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Promote, hold, reject or roll back: who, when, why, and what it rested on."""

    id: str
    turn: str | None
    challenger: str
    champion: str | None
    verdict: DecisionVerdict
    status: DecisionStatus
    by: str  # "gates", "bootstrap", or a person by uid or token
    because: str
    at: datetime
    gates: tuple[GateResult, ...] = ()
    intents: tuple[IntentVerdict, ...] = ()
    rests_on: Mapping[str, str] = field(default_factory=dict)  # hashes: golden, dataset, adapters


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionEvent:
    """One event of a decision: which status it gave it, and by whom."""

    decision: str
    verdict: DecisionVerdict
    challenger: str  # of a rollback: what serves from then on
    champion: str | None  # of a rollback: what was taken out of service
    status: DecisionStatus
    by: str


def _refuse_naive(ts: datetime, owner: str) -> None:
    if ts.tzinfo is None:
        raise ValueError(f"{owner}: `ts` has no timezone")
