"""The bodies of requests, for the OpenAPI document and for decoding.

Events are described here and read by `formats`, which takes foreign forms too.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from flywheel.event_columns import json_form
from flywheel.records import Feedback, Origin, Prediction, Sample

_INTENT = {"intent": (str | None,)}  # null: no call
PredictionEvent = json_form(
    Prediction, "PredictionEvent", doc="One production answer.", changed=_INTENT
)
FeedbackEvent = json_form(
    Feedback, "FeedbackEvent", doc="A verdict on a prediction, which may arrive later."
)
SampleEvent = json_form(
    Sample,
    "SampleEvent",
    doc="A labelled text.",
    changed={
        **_INTENT,
        "split": (Literal["seed", "train", "dev", "golden", "fresh"],),
        "origin": (Origin, "person"),
    },
    without=("id",),  # it follows from the content
)


class TraceExport(msgspec.Struct):
    """An ExportTraceServiceRequest of OTLP; protobuf is taken too."""

    resourceSpans: list[dict[str, Any]] = []  # noqa: N815  OTLP's name


class LogExport(msgspec.Struct):
    """An ExportLogsServiceRequest of OTLP; protobuf is taken too."""

    resourceLogs: list[dict[str, Any]] = []  # noqa: N815  OTLP's name


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    """Why a decision is approved or rejected."""

    because: str  # kept in the audit trail


class Approval(Reason, forbid_unknown_fields=True):
    """Why a decision is approved, and against which gates."""

    override: list[str] = []  # gates that did not pass; only those that the configuration allows
    looked: str = ""  # the word beside texts that few raters turned; needed where there are any


class Dispute(Reason, forbid_unknown_fields=True):
    """Whose label is doubted, and why."""

    sample: str = ""
    disputed: bool = True  # False: the label was checked and stands


class Label(msgspec.Struct, forbid_unknown_fields=True):
    """A person's answer to one item of the labelling queue."""

    item: str
    intent: str | None = None  # None: skipped
    arguments: dict[str, Any] | None = None


class ToolItem(msgspec.Struct):
    """A task of Label Studio or a record of Argilla, as the tool exports it."""


class Erasure(msgspec.Struct, forbid_unknown_fields=True):
    """Whose data is removed, one of the three; and whether a turn learns anew without it."""

    session: str | None = None
    rater: str | None = None
    prediction: str | None = None
    and_retrain: bool = False


class Rollback(msgspec.Struct, forbid_unknown_fields=True):
    """Which champion to go back to, and why."""

    because: str
    to: str | None = None  # an adapter; None: the champion before this one


class ChosenLines(msgspec.Struct, forbid_unknown_fields=True):
    """Which rejected lines: those named, or all."""

    ids: list[str] = []
    encoding: str = ""  # of lines that are no UTF-8, to read them again


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """An empty body."""
