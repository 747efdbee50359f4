"""How an answer is read: the names that are known, what it says, and why it is refused."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flywheel.formats.answer_text import nearest
from flywheel.formats.reading import BadEvent
from flywheel.records import NONE, Call, Intent

NO_CALL = Call(NONE, {})
NEAR_INTENT = (
    "predicted_intent",
    "intent_name",
    "label",
    "class",
    "prediction",
    "predicted",
    "category",
    "action",
    "route",
    "command",
)


class Saying(NamedTuple):
    """What an answer says."""

    calls: tuple[Call, ...] = ()  # empty: that no call is made; arguments None: not said
    malformed: bool = False  # the arguments of a call were broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How answers are read."""

    format: str  # named in errors
    known: Mapping[str, Intent] | None = None  # intents by name; None: any
    strict: bool = False  # for labels: a lone word is never prose

    def bad(self, path: str, why: str) -> BadEvent:
        """Return the error about an answer."""
        return BadEvent(self.format, path, why)


def says_nothing(path: str, rule: Rule) -> BadEvent:
    """Return the error about an answer without a call and without words."""
    return rule.bad(path, "says neither a call nor words")


def names_nothing(value: Mapping[str, Any], path: str, rule: Rule) -> BadEvent:
    """Return the error about an object that names no call, with the nearest key."""
    near = nearest_key(value, ("intent", "function"), NEAR_INTENT)
    if near:
        return rule.bad(f"{path}.intent", f"is missing; `{near}` is there: name it `intent`")
    keys = ", ".join(f"`{str(key)[:30]}`" for key in list(value)[:5])
    return rule.bad(
        path,
        f"names no call: none of `intent`, `name`, `function`, `tool` is in {keys or '{}'}",
    )


def is_unknown(label: str, path: str, rule: Rule) -> BadEvent:
    """Return the error about a label that no intent has, with the nearest one that is known."""
    near = nearest(label, rule.known) if rule.known is not None else None
    hint = f"; `{near}`?" if near else "; an answer without a call says `none`"
    return rule.bad(path, f"is `{' '.join(label[:60].split())}`, which is no known intent{hint}")


def nearest_key(keys: Iterable[Any], wanted: Sequence[str], synonyms: Sequence[str]) -> str:
    """Return the key that was meant by one of `wanted`; "" for none.

    Args:
        keys: of the object.
        wanted: names that are missing.
        synonyms: other names of the same thing, the nearest first.
    """
    given = [key for key in keys if isinstance(key, str) and key not in wanted]
    folded = {key.casefold().replace("-", "_"): key for key in given}
    for name in (*wanted, *synonyms):
        if name in folded:
            return folded[name]
    for name in wanted:
        close = difflib.get_close_matches(name, folded, 1, 0.75)
        inside = [key for key in folded if name in key.split("_")]
        if close or inside:
            return folded[(close or inside)[0]]
    return ""
