"""When people's answers take effect, and as what.

They do when the person is done, when the gates have what they want, or when nothing more was said
for a while. A gate's label joins the golden set as a bought one; an audited text becomes an
expert's feedback; a settled conflict or an uncertain text a training sample, which outvotes the
raters. Uncertain texts are no feedback: chosen by the champion's doubt, they would make it look
worse than it is, in the health of intents and in the fresh set.
What changes later, by a second opinion or by being taken back, is mended then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from flywheel import curation, datasets, labelling, lineage
from flywheel.errors import NotFound
from flywheel.label_queue.label_state import LabelState, held_turns, label_state
from flywheel.label_queue.queue import trained_texts
from flywheel.records import Feedback, Sample
from flywheel.store import Connection, events, golden_set, labels
from flywheel.store.labels import Effect, Said
from flywheel.turn.runtime import Runtime
from flywheel.turn.samples import Incoming, add_samples

_QUIET = timedelta(minutes=10)
_BY = "labelling"


def settle(
    runtime: Runtime, *, kinds: Collection[str] = labelling.KINDS, quiet: bool = False
) -> dict[str, int]:
    """Let answers take effect; what has its effect already is left as it is.

    Args:
        runtime: the loop.
        kinds: of items.
        quiet: only when nobody has said anything for ten minutes: whoever did went away.

    Returns:
        {"golden", "feedback", "train": how many labels took effect as such, "withdrawn": how many
        were taken out, "unfit": texts that a model was trained on meanwhile, so that their labels
        are no evidence, "judging": a held challenger is judged again}.
    """
    now = runtime.clock()
    with runtime.store.write() as con:
        kept, done = label_state(con), labels.effects(con)
        changed = [
            item
            for item in _changed(kept, done)
            if item.split(":")[0] in kinds and _known(runtime, kept, item)
        ]
        newest = max((said.at for said in kept.said.values()), default=now)
        if not changed or (quiet and newest > now - _QUIET):
            return _counts()
        by_kind: dict[str, list[str]] = {}
        for item in changed:
            by_kind.setdefault(item.split(":")[0], []).append(item)
        told = _judge(runtime, con, kept, done, by_kind.get("gate", []))
        learned = [*by_kind.get("conflict", []), *by_kind.get("uncertain", [])]
        told["train"], withdrawn = _teach(runtime, con, kept, done, learned)
        told["withdrawn"] += withdrawn
        told["feedback"] = _tell(con, kept, by_kind.get("audit", []), now)
    return told


def _counts(**known: int) -> dict[str, int]:
    names = ("golden", "feedback", "train", "withdrawn", "unfit", "judging")
    return dict.fromkeys(names, 0) | known


def _changed(kept: LabelState, done: Mapping[str, Effect]) -> list[str]:
    """Items whose label is not what it does now."""
    found = []
    for item in sorted({*kept.standings, *done}):
        label = kept.standings[item].label if item in kept.standings else None
        does = done[item].intent if item in done else None
        if label != does:
            found.append(item)
    return found


def _known(runtime: Runtime, kept: LabelState, item: str) -> bool:
    """Whether the label is an intent of today, by its name or a former one; of any other a person
    has the word."""
    label = kept.standings[item].label if item in kept.standings else None
    names = lineage.current_names(runtime.intents)
    return label is None or names.get(label, label) in runtime.known_intents


def _judge(
    runtime: Runtime,
    con: Connection,
    kept: LabelState,
    done: Mapping[str, Effect],
    items: Sequence[str],
) -> dict[str, int]:
    """Golden samples of what the gates asked for; a label that changed sets its sample aside."""
    now, withdrawn = runtime.clock(), 0
    made: dict[str, Sample] = {}
    for item in items:
        old = done[item].sample if item in done else None
        if old is not None and done[item].intent is not None:
            with contextlib.suppress(NotFound):  # it went with its generation
                golden_set.set_disputed(
                    con, old, disputed=True, by=_BY, because="its label changed", at=now
                )
                withdrawn += 1
        label = _label(kept, item)
        if label is not None:
            made[item] = _sample(label, "golden")
    unfit = _unfit(runtime, con, {item: sample.text for item, sample in made.items()})
    fit = {item: sample for item, sample in made.items() if item not in unfit}
    waiting = len(held_turns(con))
    added = add_samples(runtime, [Incoming(sample=each) for each in fit.values()])["accepted"]
    doubted = set(golden_set.disputed_samples(con))
    for sample in fit.values():
        if sample.id in doubted:  # it has its first label again
            golden_set.set_disputed(
                con, sample.id, disputed=False, by=_BY, because="settled", at=now
            )
    _note(con, kept, items, {item: sample.id for item, sample in fit.items()}, now)
    return _counts(
        golden=added,
        withdrawn=withdrawn,
        unfit=len(unfit),
        judging=waiting - len(held_turns(con)),
    )


def _teach(
    runtime: Runtime,
    con: Connection,
    kept: LabelState,
    done: Mapping[str, Effect],
    items: Sequence[str],
) -> tuple[int, int]:
    """Training samples of what is to be learnt; how many are new, and how many were taken out."""
    now, withdrawn = runtime.clock(), 0
    made: dict[str, Sample] = {}
    for item in items:
        old = done[item].sample if item in done else None
        withdrawn += bool(old and labels.withdraw(con, old, item))
        label = _label(kept, item)
        if label is not None:
            made[item] = _sample(label, "train")
    added = add_samples(runtime, [Incoming(sample=each) for each in made.values()])["accepted"]
    _note(con, kept, items, {item: sample.id for item, sample in made.items()}, now)
    return added, withdrawn


def _tell(con: Connection, kept: LabelState, items: Sequence[str], now: datetime) -> int:
    """An expert's feedback on what was predicted; feedback is never taken back, only outdone."""
    said = [(item, label) for item in items if (label := _label(kept, item)) is not None]
    feedback = [
        Feedback(
            id=f"{item}@{label.number}",
            prediction_id=label.prediction,
            ts=now,
            verdict="corrected",  # "correct" would vouch for the arguments too
            intent=label.intent,
            arguments=label.arguments,
            rater=label.person,
            rater_kind="expert",
        )
        for item, label in said
        if label.prediction is not None
    ]
    added = events.add_feedback(con, feedback)
    _note(con, kept, [item for item, _ in said], {}, now)
    return added


def _label(kept: LabelState, item: str) -> Said | None:
    """The newest word that says what the item comes to; None where it comes to nothing."""
    standing = kept.standings.get(item)
    if standing is None or standing.label is None:
        return None
    return next(each for each in reversed(kept.by_item[item]) if each.intent == standing.label)


def _sample(label: Said, split: str) -> Sample:
    assert label.intent is not None
    return Sample(
        id=datasets.sample_id(label.text, label.intent, label.arguments, "person", split),
        text=label.text,
        intent=label.intent,
        arguments=label.arguments,
        origin="person",
        split="golden" if split == "golden" else "train",
        provenance={
            "item": label.item,
            "rater": label.person,
            **({"prediction": label.prediction} if label.prediction else {}),
        },
    )


def _unfit(runtime: Runtime, con: Connection, texts: Mapping[str, str]) -> set[str]:
    """Items whose text a model may have met since it was asked about."""
    if not texts:
        return set()
    items = list(texts)
    jaccard = runtime.config.gates.hygiene.jaccard
    near = curation.near_duplicates(
        [texts[item] for item in items], trained_texts(runtime, con), jaccard
    )
    return {items[pair.i] for pair in near}


def _note(
    con: Connection, kept: LabelState, items: Sequence[str], made: Mapping[str, str], now: datetime
) -> None:
    """Write down what the items' labels do from now on."""
    labels.add_effects(
        con,
        [
            Effect(
                item=item,
                intent=kept.standings[item].label if item in kept.standings else None,
                sample=made.get(item),
                at=now,
            )
            for item in items
        ],
    )
