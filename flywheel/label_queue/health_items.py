"""Texts that are asked about to tell whether an intent fails (`diagnosis.doubt`).

The intent is chosen by what is known, the text by lot from what the champion answers as the intent.
Texts near any that it learned, or is judged on, are left out: its answers to them say nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from flywheel import diagnosis, labelling, lineage
from flywheel.diagnosis import Doubt
from flywheel.label_queue.known_texts import without_near_texts
from flywheel.labelling import Item
from flywheel.records import IntentHealth
from flywheel.store import Connection, adapters, label_candidates
from flywheel.store.label_candidates import SeenPrediction
from flywheel.turn.curate import window_start
from flywheel.turn.runtime import Runtime

_LOOKED_AT = 10  # predictions read for each text asked about: many are near known ones


def health_items(
    runtime: Runtime, con: Connection, intent_health: Sequence[IntentHealth]
) -> list[Item]:
    """Return the next texts, as many as configured, in an order that reveals no intent."""
    most = runtime.config.labelling.health
    if not most or adapters.champion(con) is None:
        return []
    wanted = diagnosis.shares(
        [
            Doubt(
                intent=item.intent,
                errors=item.audit_errors,
                n=item.audit_n,
                suspected=item.suspect,
            )
            for item in intent_health
            if item.predictions
        ],
        {item.intent for item in intent_health if item.failing},
        runtime.config.intents.max_error_rate,
        most,
    )
    if not wanted:
        return []
    drawn = _drawn(runtime, con, wanted, max(wanted.values()) * _LOOKED_AT)
    today = lineage.current_names(runtime.intents)
    chosen: dict[str, list[SeenPrediction]] = {intent: [] for intent in wanted}
    for prediction in without_near_texts(runtime, con, drawn):
        texts = chosen[today.get(prediction.intent, prediction.intent)]
        texts.append(prediction)
    return [
        Item(
            id=labelling.item_id("health", prediction.id),
            kind="health",
            text=prediction.text,
            prediction=prediction.id,
            rank=(0.0, prediction.lot),
        )
        for intent, count in wanted.items()
        for prediction in chosen[intent][:count]
    ]


def health_texts(runtime: Runtime, con: Connection) -> frozenset[str]:
    """Return the ids of the predictions that may be labelled for the health of intents.

    They are more than are asked about now, so that a queue that was exported can be imported when
    some of it was answered. Any other text would be chosen by whoever labels it.
    """
    most = runtime.config.labelling.health
    if not most or adapters.champion(con) is None:
        return frozenset()
    drawn = _drawn(runtime, con, runtime.known_intents, most * _LOOKED_AT)
    return frozenset(prediction.id for prediction in drawn)


def _drawn(
    runtime: Runtime, con: Connection, intents: Collection[str], most: int
) -> list[SeenPrediction]:
    """Unlabelled answers of today's champion with these intents since its reign began, by lot,
    `most` of each."""
    former, since = lineage.former_names(runtime.intents), window_start(runtime, con)
    reign = adapters.champion_since(con) or since
    names = {*intents, *(name for intent in intents for name in former.get(intent, ()))}
    return label_candidates.answered_as(
        con,
        names,
        max(since, reign),
        labelling.bar(runtime.config.labelling.audit),
        most,
        draw="health",
        others=_other_adapters(con),
    )


def _other_adapters(con: Connection) -> list[str]:
    """Adapters of the registry that do not serve; what none of them answered is the champion's."""
    serving = adapters.champion(con)
    return [adapter.id for adapter in adapters.list_adapters(con) if adapter.id != serving]
