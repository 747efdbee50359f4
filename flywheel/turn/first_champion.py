"""What a first champion still needs, where there is none.

Whoever imports seeds or a golden set has chosen them, and one row of each is enough for a turn, as
ever. Where neither was imported, people label texts of the traffic (`label_queue`), which a lot
deals to seeds, dev and golden; then a turn waits for enough of each: `[labelling] first` texts in
fixed shares, and two intents, since a model of one has nothing to choose.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from flywheel import curation, labelling
from flywheel.config import Config
from flywheel.store import Connection, adapters, label_candidates, labels, samples

KIND: labelling.Kind = "first"
"""Of the queue's items that the labels come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """How much there is of something, and how much it takes."""

    have: int
    need: int

    @property
    def missing(self) -> int:
        """How much is missing still."""
        return max(0, self.need - self.have)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstChampion:
    """What there is for a first champion, answers that have not taken effect included."""

    seeds: Need  # labelled texts to learn from
    dev: Need
    golden: Need
    intents: Need  # with a text to learn from
    traffic: bool  # there are texts that a person can be asked about

    @property
    def ready(self) -> bool:
        """Whether a turn can train and judge a first champion."""
        return not any(need.missing for need in (self.seeds, self.dev, self.golden, self.intents))

    def lacking(self) -> frozenset[labelling.Dealt]:
        """The splits that have not enough; where only intents are missing, what is learned."""
        needs: dict[labelling.Dealt, Need] = {
            "train": self.seeds,
            "dev": self.dev,
            "golden": self.golden,
        }
        few = frozenset(split for split, need in needs.items() if need.missing)
        return few or (frozenset({"train"}) if self.intents.missing else frozenset())


def needs(config: Config, con: Connection) -> FirstChampion | None:
    """Count what there is, and say what it takes; None where there is a champion."""
    if adapters.champion(con) is not None:
        return None
    stored = [*samples.training(con), *samples.dev(con)]
    golden = [row.sample for row in samples.golden(con, retired=True)]  # some may be learned
    votes = Counter(label_candidates.vote_counts(con))
    train = [sample for sample in stored if sample.split == "train"]
    learned = [sample for sample in train if "golden" not in sample.provenance]  # no shares of it
    judging = [sample for sample in stored if sample.split == "dev"]
    by_hand = any(not is_dealt(sample.provenance) for sample in golden)
    seeded = any("item" not in sample.provenance for sample in learned)
    waiting = _waiting(con)
    seeds = [sample.intent for sample in learned] + list(votes.elements())
    seeds += [intent for split, intent in waiting if split == "train"]
    dealt = {split: sum(one == split for one, _ in waiting) for split in labelling.SHARES}
    least = {split: _least(config, split) for split in labelling.SHARES}
    traffic = bool(config.labelling.first) and label_candidates.newest(con) is not None
    free = by_hand or seeded or not traffic
    return FirstChampion(
        seeds=Need(have=len(seeds), need=1 if free else least["train"]),
        dev=Need(have=len(judging) + dealt["dev"], need=0 if free else least["dev"]),
        golden=Need(
            have=len(golden) + dealt["golden"],
            need=1 if by_hand or not traffic else least["golden"],
        ),
        intents=Need(have=len(set(seeds)), need=1 if free else 2),
        traffic=traffic,
    )


def is_dealt(provenance: object) -> bool:
    """Whether a sample is a label that a lot dealt, by its provenance."""
    item = provenance.get("item") if isinstance(provenance, dict) else None
    return isinstance(item, str) and item.startswith(f"{KIND}:")


def _least(config: Config, split: labelling.Dealt) -> int:
    return max(1, round(config.labelling.first * labelling.SHARES[split]))


def _waiting(con: Connection) -> list[tuple[labelling.Dealt, str]]:
    """Split and intent of agreed labels that have not taken effect yet."""
    answers = [answer for answer in labels.standing(con) if answer.kind == KIND]
    if not answers:
        return []
    effects = labels.effects(con)
    texts = {answer.item: answer.text for answer in answers}
    standings = labelling.standings(
        labelling.Word(
            number=answer.number,
            item=answer.item,
            person=answer.person,
            label=answer.intent if answer.what == "label" else None,
            resolves=answer.resolves,
        )
        for answer in answers
    )
    return [
        (labelling.dealt(curation.normalise(texts[item])), standing.label)
        for item, standing in standings.items()
        if standing.label is not None and item not in effects
    ]
