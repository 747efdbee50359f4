"""Labels of texts that were drawn by lot: a fair sample of today's champion's answers.

The audit is drawn from all traffic. What was asked for health is drawn from what one intent was
answered to, and so is fair only of the adapter that answered it. A text that the champion learned
says nothing; an answer of a champion before it is put to today's, or is history.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flywheel.metrics import IntentPair
from flywheel.store import Connection, champion_answers
from flywheel.store.champion_answers import DRAWN_BY_LOT, SeenAnswer
from flywheel.turn.label_words import label_state


@dataclass(frozen=True, slots=True, kw_only=True)
class LotLabels:
    """One pair for each labelled text."""

    audit: tuple[IntentPair, ...]
    asked: tuple[IntentPair, ...]
    any_given: bool  # in the window, whoever had answered


def lot_labels(
    con: Connection,
    champion: str | None,
    registered: frozenset[str],
    since: datetime,
    reign: datetime | None = None,
) -> LotLabels:
    """Return the agreed labels of what was answered since `since`.

    Args:
        con: a connection.
        champion: today's; None: none can be asked, and production's answers count as they are.
        registered: ids of all adapters.
        since: no older predictions.
        reign: since when it is the champion; None: for ever.
    """
    state = label_state(con)
    drawn = {
        item: answer
        for item, answer in state.said.items()
        if answer.kind in DRAWN_BY_LOT
        and answer.prediction is not None
        and answer.predicted_at is not None
        and answer.predicted_at >= since
        and state.standings[item].label is not None
    }
    ids = {answer.prediction for answer in drawn.values() if answer.prediction}
    seen = champion_answers.seen_answers(con, champion, ids, since)
    pairs: dict[str, list[IntentPair]] = {kind: [] for kind in DRAWN_BY_LOT}
    for item, answer in drawn.items():
        before = seen.get(answer.prediction or "")
        served = answer.predicted_at is not None and (not reign or answer.predicted_at >= reign)
        given = _given_by_champion(before, answer.predicted, champion, registered, in_reign=served)
        predicted = answer.predicted if given else before.anew if before else None
        label = state.standings[item].label
        if predicted is None or (before and before.learned):
            continue
        if given or answer.kind == "audit":
            pairs[answer.kind].append(_pair(predicted, label))
    return LotLabels(
        audit=tuple(pairs["audit"]), asked=tuple(pairs["health"]), any_given=bool(drawn)
    )


def _given_by_champion(
    seen: SeenAnswer | None,
    predicted: str | None,
    champion: str | None,
    registered: frozenset[str],
    *,
    in_reign: bool,
) -> bool:
    """Whether the recorded answer counts as the champion's own: it is, or nobody knows whose it is,
    it was given in its reign, and the champion, once asked, says the same."""
    if champion is None:
        return True
    if seen is None:
        return False
    nobodys = in_reign and seen.adapter not in registered
    return seen.adapter == champion or (nobodys and seen.anew in (None, predicted))


def _pair(predicted: str, label: str | None) -> IntentPair:
    return IntentPair(predicted=predicted, truth=label, correct=predicted == label, count=1)
