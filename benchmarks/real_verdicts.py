"""Verdicts and scores as other tools write them, each with what it must say, or None.

`SCORES` is the `[feedback.scores]` under which they are sent; what a score means under it, or
without a rule, is written down here beside the score.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
_WHEN = "2026-11-25T12:05:00Z"
SCORES = {
    "stars": "1..5 >= 4", "flagged": "boolean inverted", "grade": "labels good, fine / bad",
    "toxicity": "ignore", "expected": "correction",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A verdict that must be stored."""

    word: str  # correct, incorrect, corrected
    intent: str | None = None  # of a correction; "none": no call
    arguments: Json | None = None  # None: not said


_RIGHT, _WRONG = Verdict(word="correct"), Verdict(word="incorrect")
Made = tuple[Verdict | None, str, Json]
Said = tuple[str, Any, str, Verdict | None]
"""Name, value, who said it (person or model), and what it must count as."""


def _flag(value: bool) -> Verdict:
    return _RIGHT if value else _WRONG


def said(chance: random.Random) -> Said:
    """A score of any kind, of a tool that tells true and false, numbers and labels apart."""
    value, star = chance.random() < 0.5, chance.choice((1, 2, 3, 4, 5))
    label = chance.choice(("good", "fine", "bad", "odd"))
    graded = {"good": _RIGHT, "fine": _RIGHT, "bad": _WRONG}.get(label)
    return chance.choice((
        ("user_feedback", value, "person", _flag(value)),
        ("thumbs_up", value, "person", _flag(value)),
        ("correctness", value, "person", _flag(value)),
        ("correctness", chance.choice(("correct", "incorrect")), "model", None),
        ("correctness", chance.choice((0.0, 0.4, 1.0)), "model", None),
        ("stars", star, "person", _flag(star >= 4)),
        ("stars", 7, "person", None),
        ("flagged", value, "person", _flag(not value)),
        ("grade", label, "person", graded),
        ("toxicity", 0.0, "person", None),
        ("toxicity", False, "person", None),
        ("Hallucination", "factual", "model", None),
        ("hallucination", value, "person", None),
        ("latency_seconds", chance.choice((0.0, 0.2, 1.0)), "person", None),
        ("cost_usd", chance.choice((0, 0.002, 1)), "person", None),
        ("edit_distance", chance.choice((0, 3)), "person", None),
        ("quality", chance.choice((0, 1, 3)), "person", None),
        ("sentiment", chance.choice(("positive", "negative")), "person", None),
        ("escalated", value, "person", None),
        ("retry", value, "person", None),
    ))  # fmt: skip


def _native(chance: random.Random, mark: str) -> Made:
    word = chance.choice(("correct", "incorrect", "corrected"))
    event = {"id": f"f-{mark}", "prediction_id": f"t-{mark}", "ts": _WHEN, "verdict": word}
    if word != "corrected":
        spelled = {"correct": ("correct", True, "thumbs_up", "👍"),
                   "incorrect": ("incorrect", False, "thumbs_down", "wrong")}  # fmt: skip
        event["verdict"] = chance.choice(spelled[word])
        return Verdict(word=word), "native verdict", event
    right, meant = _right(chance)
    return meant, "native verdict", event | right


def _right(chance: random.Random) -> tuple[Json, Verdict]:
    """The right answer of a correction, as intent and arguments."""
    name = chance.choice(("set_timer", "get_weather", None))
    if name is None:
        return {"intent": None}, Verdict(word="corrected", intent="none")
    given = chance.choice((None, {"place": "Köln"}, {"duration": "五分钟"}))
    meant = Verdict(word="corrected", intent=name, arguments=given)
    return {"intent": name} | ({} if given is None else {"arguments": given}), meant


def _number(chance: random.Random, mark: str) -> Made:
    """A native verdict that is none: a number, another word, or a key of another name."""
    event: Json = {"id": f"f-{mark}", "prediction_id": f"t-{mark}", "ts": _WHEN}
    other = chance.choice((
        {"verdict": 1}, {"verdict": 0}, {"verdict": "meh"}, {"score": 1}, {"rating": "up"},
        {"verdict": None}, {"verdict": ""}, {"verdict": ["correct"]}, {"verdict": "not correct"},
        {"verdict": "corrected"},
    ))  # fmt: skip
    return None, "native non-verdict", event | other


def _langfuse(chance: random.Random, mark: str) -> Made:
    name, value, who, meant = said(chance)
    snake = chance.random() < 0.5
    source = chance.choice(("ANNOTATION", "API")) if who == "person" else "EVAL"
    if source == "API" and name not in ("user_feedback", "thumbs_up", *SCORES):
        meant = None  # a program may have sent it
    kind = "BOOLEAN" if isinstance(value, bool) else "NUMERIC"
    kind = "CATEGORICAL" if isinstance(value, str) else kind
    text = {True: "True", False: "False"}.get(value) if kind == "BOOLEAN" else None
    number = chance.choice((0, 1, 2)) if kind == "CATEGORICAL" else value
    if chance.random() < 0.15:  # a TEXT score: its value is always 0
        kind, number, value, meant = "TEXT", 0, "all fine, thanks", None
    keys = (
        ("trace_id", "observation_id", "data_type", "string_value")
        if snake
        else ("traceId", "observationId", "dataType", "stringValue")
    )
    trace, observation, data_type, string = keys
    event = {
        "id": f"sc-{mark}", trace: f"t-{mark}", observation: f"o-{mark}", "name": name,
        "value": float(number) if isinstance(number, bool) else number, data_type: kind,
        string: value if isinstance(value, str) else text, "source": source, "timestamp": _WHEN,
        "comment": None,
    }  # fmt: skip
    return meant, "langfuse score", event


def _langfuse_correction(chance: random.Random, mark: str) -> Made:
    event = {
        "id": f"sc-{mark}", "traceId": f"t-{mark}", "observationId": f"o-{mark}", "name": "output",
        "value": 0, "dataType": "CORRECTION", "source": "ANNOTATION", "timestamp": _WHEN,
        "stringValue": json.dumps({"name": "set_timer", "arguments": {"duration": "7 分"}}),
    }  # fmt: skip
    meant = Verdict(word="corrected", intent="set_timer", arguments={"duration": "7 分"})
    return meant, "langfuse correction", event


def _phoenix(chance: random.Random, mark: str) -> Made:
    name, value, who, meant = said(chance)
    result: Json = {"label": value, "score": chance.choice((None, 0.0, 1.0))}
    if isinstance(value, bool):
        if name in ("user_feedback", "thumbs_up"):
            result = {"label": "thumbs-up" if value else "thumbs-down", "score": float(value)}
        elif name == "correctness":
            result = {"label": "correct" if value else "incorrect", "score": float(value)}
        else:
            result = {"label": str(value).lower(), "score": float(value)}
    elif not isinstance(value, str):
        result = {"label": None, "score": float(value)}
    kind = "HUMAN" if who == "person" else chance.choice(("LLM", "CODE"))
    event: Json = {"annotator_kind": kind, "created_at": _WHEN, "identifier": ""}
    if chance.random() < 0.5:
        event |= {"span_id": f"s-{mark}", "name": name, "result": result, "metadata": {}}
    else:
        event |= {"span_id": f"s-{mark}", "annotation_name": name, **result}
    return meant, "phoenix annotation", event


def _mlflow(chance: random.Random, mark: str) -> Made:
    name, value, who, meant = said(chance)
    source = {"source_type": "HUMAN" if who == "person" else "LLM_JUDGE", "source_id": "r"}
    if chance.random() < 0.4:
        event: Json = {"trace_id": f"tr-{mark}", "name": name, "value": value, "source": source,
                       "rationale": "", "metadata": {}, "span_id": None}  # fmt: skip
        return meant, "mlflow feedback", event
    event = {
        "assessment_id": f"a-{mark}", "assessment_name": name, "trace_id": f"tr-{mark}",
        "source": source, "feedback": {"value": value}, "create_time": _WHEN,
        "last_update_time": _WHEN,
    }  # fmt: skip
    if chance.random() < 0.3:
        return None, "mlflow invalid", event | {"valid": False}
    return meant, "mlflow assessment", event


def _mlflow_expectation(chance: random.Random, mark: str) -> Made:
    right = chance.choice(("Sure", ["it is warm"], {"name": "get_weather", "arguments": {}}))
    # MLflow's own default is a person: without its source, a model's right call would be one's.
    person = isinstance(right, dict) or chance.random() < 0.5
    meant = None
    if isinstance(right, dict) and person:
        meant = Verdict(word="corrected", intent="get_weather", arguments={})
    event = {
        "assessment_id": f"a-{mark}", "assessment_name": "expected_response",
        "trace_id": f"tr-{mark}", "source": {"source_type": "HUMAN" if person else "LLM_JUDGE"},
        "expectation": {"value": right}, "create_time": _WHEN,
    }  # fmt: skip
    return meant, "mlflow expectation", event


def _tensorzero(chance: random.Random, mark: str) -> Made:
    name, value, who, meant = said(chance)
    tags = {} if who == "person" else {"tensorzero::evaluator_inference_id": "e-1"}
    if isinstance(value, str):
        name, meant = "comment", None
    event: Json = {"metric_name": name, "value": value, "tags": tags}
    if chance.random() < 0.5:
        event |= {"inference_id": f"i-{mark}"}
    else:
        event |= {"id": f"m-{mark}", "target_id": f"i-{mark}", "timestamp": _WHEN}
    if chance.random() < 0.1:
        return None, "tensorzero dryrun", event | {"dryrun": True}
    return meant, "tensorzero feedback", event


def _tensorzero_demonstration(chance: random.Random, mark: str) -> Made:
    call = {"type": "tool_call", "name": "set_timer", "arguments": '{"duration": "5"}'}
    event: Json = {"metric_name": "demonstration", "inference_id": f"i-{mark}"}
    if chance.random() < 0.5:
        meant = Verdict(word="corrected", intent="set_timer", arguments={"duration": "5"})
        return meant, "tensorzero demonstration", event | {"value": [call]}
    meant = Verdict(word="corrected", intent="none")
    return meant, "tensorzero demonstration", event | {"value": "I cannot do that."}


def _otel(chance: random.Random, mark: str) -> Made:
    name, value, who, meant = said(chance)
    if name not in ("user_feedback", "thumbs_up", *SCORES) or who == "model":
        meant = None  # the convention does not say who gave it
    head = "gen_ai.evaluation"
    attributes: Json = {f"{head}.name": name, "gen_ai.response.id": f"r-{mark}"}
    if isinstance(value, str):
        attributes[f"{head}.score.label"] = value
    else:
        attributes[f"{head}.score.value"] = float(value)
    event = {"name": f"{head}.result", "timestamp": _WHEN, "attributes": attributes}
    return meant, "otel evaluation", event


VERDICTS: tuple[Callable[[random.Random, str], Made], ...] = (
    _native, _native, _number, _langfuse, _langfuse, _langfuse_correction, _phoenix, _mlflow,
    _mlflow_expectation, _tensorzero, _tensorzero_demonstration, _otel,
)  # fmt: skip
