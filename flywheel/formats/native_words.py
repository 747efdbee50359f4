"""Words of native events that have more than one spelling: verdicts, raters, slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

from flywheel.formats.reading import Fields, plain
from flywheel.formats.replies import nearest_key
from flywheel.records import RaterKind, VerdictOnPrediction

_VERDICTS: tuple[str, ...] = get_args(VerdictOnPrediction)
_RATER_KINDS: tuple[str, ...] = get_args(RaterKind)
_RIGHT = frozenset(
    {"correct", "right", "true", "yes", "pass", "passed", "good", "positive", "up", "thumbs_up",
     "thumbsup", "like", "liked", "👍"}
)  # fmt: skip
_WRONG = frozenset(
    {"incorrect", "wrong", "false", "no", "fail", "failed", "bad", "negative", "down",
     "thumbs_down", "thumbsdown", "dislike", "disliked", "👎"}
)  # fmt: skip
_RATERS: Mapping[str, RaterKind] = {"human": "user", "llm": "model", "code": "rule"}
_NEAR = ("rating", "score", "feedback", "thumbs", "vote", "label", "value", "correct", "result")


def verdict_of(fields: Fields) -> VerdictOnPrediction:
    """Return `verdict`: one of the three words, or praise or blame spelled out.

    Raises:
        BadEvent: it is missing, or it is a number or another word.
    """
    value = fields.get("verdict")
    if value is None:
        near = nearest_key(fields.value, ("verdict",), _NEAR)
        hint = f"; `{near}` is there, and its scale is not known here" if near else ""
        raise fields.bad("verdict", f"is missing{hint}")
    if isinstance(value, bool):
        return "correct" if value else "incorrect"
    if isinstance(value, (int, float)):
        raise fields.bad("verdict", f"is a number, none of {', '.join(_VERDICTS)}")
    word = fields.text("verdict").strip().casefold().replace("-", "_").replace(" ", "_")
    if word in _VERDICTS:
        return cast("VerdictOnPrediction", word)
    if word in _RIGHT:
        return "correct"
    if word in _WRONG:
        return "incorrect"
    raise fields.bad("verdict", f"is `{fields.text('verdict')}`, none of {', '.join(_VERDICTS)}")


def kind_of_rater(fields: Fields) -> RaterKind:
    """Return `rater_kind` in any case; a human is a user, and so is one that is not named.

    Raises:
        BadEvent: it is another word.
    """
    if fields.get("rater_kind") in (None, ""):
        return "user"
    word = fields.text("rater_kind").strip().casefold()
    word = _RATERS.get(word, word)
    if word not in _RATER_KINDS:
        raise fields.bad("rater_kind", f"is `{word}`, none of {', '.join(_RATER_KINDS)}")
    return cast("RaterKind", word)


def texts_of(fields: Fields, name: str) -> dict[str, str]:
    """Return an object of texts, {} where it is not there; null in it is dropped.

    Numbers, true and false become text. A map of Parquet comes as pairs.

    Raises:
        BadEvent: it is no object, or holds a list or an object.
    """
    value = fields.get(name)
    if value is None or value == "":
        return {}
    if isinstance(value, (list, tuple)):
        fields = Fields(fields.format, {name: _of_pairs(value)}, fields.path("").rstrip("."))
    given = fields.inner(name)
    found = {key: _as_text(item, given, str(key)) for key, item in given.value.items()}
    present = {key: text for key, text in found.items() if text is not None}
    return dict(plain(present, fields.format, fields.path(name)))


def _of_pairs(items: Any) -> Any:
    """A map that was written as [[key, value]] or [{key, value}]; otherwise the list itself."""
    found: dict[str, Any] = {}
    for item in items:
        pair = [item.get("key"), item.get("value")] if isinstance(item, Mapping) else item
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str):
            return items
        found[pair[0]] = pair[1]
    return found


def _as_text(value: Any, given: Fields, key: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:.15g}" if isinstance(value, float) else str(value)
    raise given.bad(key, "is not a text")
