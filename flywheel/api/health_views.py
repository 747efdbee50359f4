"""Health of the intents, as `/v1/intents` answers it."""

from __future__ import annotations

from dataclasses import fields
from typing import Literal

from flywheel import diagnosis
from flywheel.api.personal import View
from flywheel.metrics import wilson
from flywheel.records import IntentHealth, ShownBy, StreamKind


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


def intent_view(item: IntentHealth, confidence: float) -> IntentView:
    """One intent, with the interval of what labels by lot say."""
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
