"""What kind of failure is it? Each kind is mended by other samples.

Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from flywheel.records import NONE, Arguments, FailureClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A production text that was answered wrongly."""

    text: str
    predicted: str = ""
    truth: str | None = None  # None: nobody said what would have been right
    predicted_arguments: Arguments = field(default_factory=dict)
    truth_arguments: Arguments | None = None
    slices: Mapping[str, str] = field(default_factory=dict)
    far: bool = False  # no training text shares a fair part of its words
    new_slice: str = ""  # "locale=de" where no training sample has that slice; "" otherwise


def classify(failed: Failed, known: Collection[str]) -> FailureClass:
    """Return the kind of a failure.

    What the text is like, a slice or a wording never trained on, comes before what it was
    confused with: it says what to write.

    Args:
        failed: what happened.
        known: names of the intents, `none` among them.
    """
    if failed.predicted and failed.predicted not in known:
        return "malformed"
    if failed.truth is not None and failed.truth == failed.predicted:
        return _arguments(failed)
    if failed.truth == NONE:
        return "should_abstain"
    if failed.new_slice:
        return "unseen_slice"
    if failed.far:
        return "unseen_wording"
    return "abstained" if failed.predicted == NONE else "wrong_intent"


def _arguments(failed: Failed) -> FailureClass:
    if failed.truth_arguments is None:
        return "wrong_argument"
    said, right = _given(failed.predicted_arguments), _given(failed.truth_arguments)
    if right - said:
        return "missing_argument"
    return "extra_argument" if said - right else "wrong_argument"


def _given(arguments: Arguments) -> set[str]:
    """Names of the arguments that are there; null is what is not (`content.arguments_key`)."""
    return {name for name, value in arguments.items() if value is not None}
