"""Health of the intents, as `/v1/intents` answers it."""

from __future__ import annotations

from dataclasses import fields
from typing import Literal

from flywheel import diagnosis
from flywheel.api.personal import View
from flywheel.metrics import wilson
from flywheel.records import IntentHealth, ShownBy, StreamKind
from flywheel.turn.answered_anew import Waiting


class AuditedIntentView(View):
    """An intent's error rate by labels of texts that were drawn by lot, with its interval."""

    n: int
    errors: int
    low: float
    high: float


class ConfusionCountView(View):
    """How often an intent is confused with a neighbour."""

    intent: str
    count: int


class IntentView(View):
    """Health of an intent: labelled answers of today's champion, and the interval of the error
    rate."""

    intent: str
    predictions: int
    feedback: int
    errors: int
    error_rate: float | None
    low: float
    high: float
    failing: bool  # shown by evidence
    confused_with: list[ConfusionCountView]
    trend: Literal["worse", "better", "flat", "unknown"]
    dev_n: int
    dev_errors: int
    audit: AuditedIntentView | None
    suspect: bool = False  # evidence leans against it and does not show it
    cleared: bool = False  # labels drawn by lot leave little doubt that it does well
    state: Literal["failing", "suspect", "healthy", "unknown"] = "unknown"
    shown_by: tuple[ShownBy, ...] = ()  # the evidence by which it fails
    stream: StreamKind = "nothing"  # how volunteered labels came; complaints alone are no rate
    audit_wanted: int = 0  # about how many labels drawn by lot would tell
    unknown: bool = False  # a name that is no intent
    nearest: str | None = None  # of an unknown name: the intent it may mean
    labels: int = 0  # of an unknown name: labels by which it is the right intent
    next_step: str = ""  # of an unknown name: what adds or maps it
    adapter: str | None = None  # whose answers are judged; None: whatever production answered
    pending: int = 0  # labelled texts that concern it and wait for this adapter's answer: what
    # they say is in no figure beside them


class HealthStatusView(View):
    """Whose health is shown, and what of it is not known yet."""

    champion: str | None  # whose labelled answers are judged; None: whatever production answered
    pending: int  # labelled texts that wait for its answer; the health does not rest on them
    waiting: str  # the same in words, and why it could not be asked; "" for nothing


def health_status(waiting: Waiting, unasked: str) -> HealthStatusView:
    """What is still to be put to today's champion; `unasked` as of `Runtime`."""
    words = ""
    if waiting.texts:
        wait = (
            "1 labelled text waits"
            if waiting.texts == 1
            else f"{waiting.texts} labelled texts wait"
        )
        then = unasked or "the daemon asks it by itself"
        words = f"{wait} for the answer of {waiting.champion}: {then}"
    return HealthStatusView(champion=waiting.champion, pending=waiting.texts, waiting=words)


def intent_view(
    item: IntentHealth, confidence: float, adapter: str | None, pending: int
) -> IntentView:
    """One intent, with the interval of what labels by lot say; further fields as of the view."""
    audit = None
    if item.audit_n:
        low, high = wilson(item.audit_errors, item.audit_n, confidence)
        audit = AuditedIntentView(n=item.audit_n, errors=item.audit_errors, low=low, high=high)
    return IntentView(
        **{
            field.name: getattr(item, field.name)
            for field in fields(item)
            if field.name not in ("confused_with", "audit_n", "audit_errors")
        },
        state=item.state,
        confused_with=[
            ConfusionCountView(intent=name, count=count) for name, count in item.confused_with
        ],
        audit=audit,
        adapter=adapter,
        pending=pending,
    )


def unknown_view(name: diagnosis.UnknownName) -> IntentView:
    """A name that is no intent: how often it came, and which intent it may mean."""
    return IntentView(
        intent=name.intent,
        predictions=name.predictions,
        feedback=name.feedback,
        errors=0,
        error_rate=None,
        low=0.0,
        high=1.0,
        failing=False,
        confused_with=[],
        trend="unknown",
        dev_n=0,
        dev_errors=0,
        audit=None,
        unknown=True,
        nearest=name.nearest,
        labels=name.labels,
        next_step=diagnosis.next_step(name),
    )
