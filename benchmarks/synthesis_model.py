"""One round of production, purchases from a teacher, curation, and a quick model to judge by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from partition import Partition
from traffic import Load, Traffic

from flywheel import curation, datasets, diagnosis
from flywheel.config.tables import (
    CurationTable,
    IntentsTable,
    SynthesisTable,
    TeacherTable,
    TrainingTable,
)
from flywheel.diagnosis import Failed
from flywheel.metrics import IntentPair, Tallies
from flywheel.protocols import AnswerStore, StoredAnswer
from flywheel.records import NONE, Brief, Intent, IntentHealth, Sample
from flywheel.teacher.openai import OpenAITeacher
from flywheel.worker import crossfit, logistic, models
from flywheel.worker.models import base as bases
from flywheel.worker.models.protocol import ModelSettings

_LABEL_BASED = ("verification", "unverified", "copied", "neighbourhood", "label_noise", "conflict")
_CURATION = CurationTable()


class Memory:
    """Paid answers of one process."""

    def __init__(self) -> None:
        self._kept: dict[str, StoredAnswer] = {}

    def get(self, keys: Sequence[str]) -> dict[str, StoredAnswer]:
        """See `AnswerStore`."""
        return {key: self._kept[key] for key in keys if key in self._kept}

    def put(self, answers: Sequence[StoredAnswer]) -> None:
        """See `AnswerStore`."""
        self._kept |= {answer.key: answer for answer in answers}


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a teacher wrote, as samples, and what is known of the texts."""

    samples: tuple[Sample, ...] = ()
    briefs: tuple[Brief, ...] = ()
    planted: dict[str, str] = field(default_factory=dict)
    truth: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What curation left."""

    kept: tuple[Sample, ...]
    reasons: dict[str, str]  # of all refused, by id

    @property
    def by_label(self) -> dict[str, str]:
        """Those refused for their label."""
        return {name: why for name, why in self.reasons.items() if why in _LABEL_BASED}


@dataclass(frozen=True)
class Scored:
    """Percentages on test rows."""

    failing: float
    neighbours: float
    macro: float

    def __str__(self) -> str:
        return (
            f"failing {self.failing:.2f}, neighbours {self.neighbours:.2f}, macro {self.macro:.2f}"
        )


@dataclass(frozen=True, kw_only=True)
class Round:
    """A champion, what production said to it, and what is known then."""

    dealt: Partition
    seeds: tuple[Sample, ...]
    feedback: tuple[Sample, ...]
    health: tuple[IntentHealth, ...]
    failed: dict[str, list[Failed]]

    @property
    def counts(self) -> Counter[str]:
        """Training samples by intent."""
        return Counter(sample.intent for sample in (*self.seeds, *self.feedback))

    def briefs(self, table: SynthesisTable) -> list[Brief]:
        """What flywheel would ask for; texts of `none` are not in the pool."""
        intents = [Intent(name=n, description=n.replace("_", " ")) for n in self.dealt.intents]
        examples: dict[str, list[str]] = {}
        for sample in self.seeds:
            examples.setdefault(sample.intent, []).append(sample.text)
        failing = [item for item in self.health if item.intent != NONE]
        made = diagnosis.briefs(failing, intents, self.failed, examples, table)
        return [brief for brief in made if brief.intent.name != NONE]


class Model:
    """Logistic regression on the frozen embedding, balanced as the configuration balances."""

    def __init__(self, cache: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        settings = ModelSettings(base=bases.BUNDLED, max_length=64, cache_dir=cache)
        self._base = models.open_model(settings)
        self._known: dict[str, torch.Tensor] = {}

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """float32 (n, width); each text is computed once."""
        missing = sorted(set(texts) - set(self._known))
        if missing:
            found = self._base.embed(missing, lambda _: None)
            self._known.update(zip(missing, found, strict=True))
        return torch.stack([self._known[text] for text in texts])

    def fit(self, samples: Sequence[Sample]) -> tuple[Any, list[str]]:
        """A head, and its labels."""
        labels = sorted({sample.intent for sample in samples})
        y = torch.tensor([labels.index(sample.intent) for sample in samples])
        x = self.embed([sample.text for sample in samples])
        share = len(y) / len(labels) / torch.bincount(y, minlength=len(labels)).float()
        weights = share[y] ** TrainingTable().balance * torch.tensor([s.weight for s in samples])
        return logistic.fit(x, y, len(labels), weights=weights, steps=60), labels

    def answers(self, fitted: tuple[Any, list[str]], texts: Sequence[str]) -> list[str]:
        """The likeliest intent of each text."""
        head, labels = fitted
        return [labels[i] for i in head.logits(self.embed(texts)).argmax(1).tolist()]

    def score(
        self,
        round_: Round,
        samples: Sequence[Sample],
        failing: Sequence[str],
        neighbours: Sequence[str],
    ) -> Scored:
        """Recall on test rows after learning from `samples`."""
        rows = [row for row in round_.dealt.test if row.intent != NONE]
        said = self.answers(self.fit(samples), [row.text for row in rows])
        hits: dict[str, list[bool]] = {}
        for row, name in zip(rows, said, strict=True):
            hits.setdefault(row.intent, []).append(row.intent == name)
        recall = {name: 100 * sum(right) / len(right) for name, right in hits.items()}
        return Scored(
            _mean([recall[name] for name in failing]),
            _mean([recall[name] for name in neighbours]),
            _mean(list(recall.values())),
        )

    def doubts(self, samples: Sequence[Sample]) -> list[curation.Curated]:
        """The rules that ask a model, one after the other, by the worker's own cross-fit."""
        labels = sorted({sample.intent for sample in samples})
        y = torch.tensor([labels.index(sample.intent) for sample in samples])
        texts = [sample.text for sample in samples]
        fold = crossfit.folds(texts, [sample.intent for sample in samples], 5, 0)
        trusted = torch.tensor([sample.origin in curation.TRUSTED for sample in samples])
        written = torch.tensor([sample.origin == "teacher" for sample in samples])
        x = self.embed(texts)
        p = crossfit.out_of_fold(x, y, fold, len(labels), trusted)
        odds, top = crossfit.fit_odds(p, y)
        unit = torch.nn.functional.normalize(x.float(), dim=1)
        agree = crossfit.agreement(unit, y, written)
        scores = {
            sample.id: curation.NoiseScore(
                p_label=float(p[i, y[i]]),
                top=labels[int(top[i])],
                p_top=float(p[i, top[i]]),
                odds=float(odds[i]),
                agree=float(agree[i]),
            )
            for i, sample in enumerate(samples)
        }
        pairs = [
            curation.Alike(id=samples[i].id, other=samples[j].id, cosine=cosine)
            for i, j, cosine in zip(*crossfit.alike(unit, y, written, 0.85), strict=True)
        ]
        new = curation.without_paraphrases(samples, pairs, _CURATION.paraphrase, "")
        placed = curation.in_their_neighbourhood(new.kept, scores)
        believed = curation.believe(samples, scores)
        noise = curation.mislabelled(placed.kept, (), scores, believed, _CURATION)
        return [new, placed, curation.Curated(kept=noise.kept, refused=noise.refused)]


def round_of(dealt: Partition, model: Model, load: Load, seed: int) -> Round:
    """The champion learns the seeds; two loads of traffic are answered and rated."""
    seeds = tuple(_sample(row.text, row.intent, "seed") for row in dealt.seeds)
    champion = model.fit(seeds)
    traffic = Traffic(dealt, load, seed)
    feedback: list[Sample] = []
    pairs: Counter[tuple[str, str]] = Counter()
    failed: dict[str, list[Failed]] = {}
    for _ in range(2):
        utterances = traffic.utterances()
        rated = traffic.rated(utterances)
        tempted, careless = traffic.mistaken(rated)
        said = dict(
            zip(rated, model.answers(champion, [utterances[i].text for i in rated]), strict=True)
        )
        labels = {i: utterances[i].intent for i in rated}
        labels |= {i: said[i] for i in tempted}
        labels |= {i: traffic.any_other(labels[i]) for i in careless}
        for i, label in labels.items():
            text = utterances[i].text
            feedback.append(_sample(text, label, "feedback"))
            pairs[(said[i], label)] += 1
            if said[i] != label:
                one = Failed(text=text, predicted=said[i], truth=label)
                for name in (said[i], label):
                    failed.setdefault(name, []).append(one)
    return Round(
        dealt=dealt,
        seeds=seeds,
        feedback=tuple(feedback),
        health=_health(dealt, model, champion, pairs),
        failed=failed,
    )


def _health(
    dealt: Partition, model: Model, champion: Any, pairs: Counter[tuple[str, str]]
) -> tuple[IntentHealth, ...]:
    intents = [Intent(name=name) for name in dealt.intents]
    said = model.answers(champion, [row.text for row in dealt.dev])
    dev: dict[str, tuple[int, int]] = {}
    for row, name in zip(dealt.dev, said, strict=True):
        n, errors = dev.get(row.intent, (0, 0))
        dev[row.intent] = (n + 1, errors + (name != row.intent))
    counted = tuple(
        IntentPair(predicted=said, truth=truth, correct=said == truth, count=count)
        for (said, truth), count in pairs.items()
    )
    labels = diagnosis.ChampionLabels(dev=dev)
    return diagnosis.health(Tallies(pairs=counted), intents, IntentsTable(), labels=labels)


def buy(
    url: str,
    briefs: Sequence[Brief],
    intents: tuple[Intent, ...],
    *,
    kept: AnswerStore | None = None,
    verify: bool = True,
) -> Written:
    """Buy what the briefs ask for through the real client."""
    table = TeacherTable(base_url=url, model="stand-in", max_concurrency=8, timeout_s=5.0)
    synthesis = SynthesisTable(per_request=10, max_usd=1e9, verify=verify)
    answers = OpenAITeacher(table, synthesis, intents).write(briefs, kept or Memory())
    samples = {}
    for brief in briefs:
        for answer in answers.get(brief.id, ()):
            for draft in answer.drafts:
                blind = draft.blind
                told = {"blind": {"intent": blind.intent, "arguments": None}} if blind else {}
                made = _sample(draft.text, draft.intent, "teacher", brief=brief.id, **told)
                samples[made.id] = made
    return Written(samples=tuple(samples.values()), briefs=tuple(briefs))


def curated(
    round_: Round | None,
    model: Model | None,
    written: Written,
    *,
    briefs: Sequence[Brief] = (),
    held_out: Sequence[str] = (),
) -> Kept:
    """Everything that curation does to the samples of a turn, in its order."""
    own = (*round_.seeds, *round_.feedback) if round_ else ()
    if round_:
        held_out = [row.text for row in (*round_.dealt.golden, *round_.dealt.dev)]
    candidates = (*own, *written.samples)
    intents = [Intent(name=sample.intent) for sample in candidates]
    shown = {brief.id: brief.failed_texts for brief in (*briefs, *written.briefs)}
    read = [curation.copied(candidates, shown, _CURATION.copied)]
    read.append(curation.of_known_script(read[-1].kept, shown))
    read.append(curation.verified(read[-1].kept))
    read.append(curation.screen(read[-1].kept, (), held_out, intents, _CURATION))
    if model:
        read += model.doubts(read[-1].kept)
    refused = [refusal for each in read for refusal in each.refused]
    return Kept(
        kept=read[-1].kept,
        reasons={r.sample.id: r.reason for r in refused},
    )


def _sample(text: str, intent: str, origin: Any, **provenance: Any) -> Sample:
    return Sample(
        id=datasets.sample_id(text, intent, None, origin, "train"),
        text=text,
        intent=intent,
        origin=origin,
        split="train",
        provenance=provenance,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
