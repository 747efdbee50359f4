"""All rules of curation in their order: first those on texts, then those that need a model.

Pure but for `ask`, which the caller provides: it has a model score samples.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flywheel.config.tables import CurationTable, RatersTable
from flywheel.curation.mislabelled import Mislabelled, mislabelled
from flywheel.curation.raters import (
    Believed,
    NoiseScore,
    believe,
    capped,
    contradicted,
    undisturbed,
    weighed,
)
from flywheel.curation.screening import Curated, is_trusted, screen
from flywheel.curation.voices import Voices, voices
from flywheel.curation.wording import unvouched
from flywheel.curation.written import (
    Alike,
    copied,
    in_their_neighbourhood,
    of_known_script,
    verified,
    without_paraphrases,
)
from flywheel.records import Intent, Refusal, Sample

Rule = Callable[[Sequence[Sample]], Curated]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What a model that did not see a sample says of it."""

    scores: Mapping[str, NoiseScore] = field(default_factory=dict)  # by sample id
    pairs: Sequence[Alike] = ()  # of near samples


Ask = Callable[[Sequence[Sample], Sequence[Sample]], Scored]
"""Scores of samples, and of samples set aside: those are scored and teach the model nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiftRules:
    """The rules of a turn, in their order, with what they are told besides the samples."""

    intents: Sequence[Intent]
    kept_out: Sequence[str]  # texts of golden, fresh and dev
    brief_texts: Mapping[str, Sequence[str]]  # production texts by id of this turn's briefs
    turn: str
    curation: CurationTable
    raters: RatersTable
    dev: Sequence[Sample] = ()  # scored with the candidates; their labels are known to be right

    def voices(self, candidates: Sequence[Sample]) -> Voices:
        """The voices behind the candidates; each rater is one where none must be independent."""
        return voices(candidates, self.raters.trusted) if self.raters.independent else Voices()

    def on_texts(self, named: Voices) -> tuple[Rule, ...]:
        """Rules on texts alone."""
        table = self.curation
        return (
            lambda kept: copied(kept, self.brief_texts, table.copied),
            lambda kept: of_known_script(kept, self.brief_texts),
            verified,
            lambda kept: screen(kept, (), self.kept_out, self.intents, table, named),
        )

    def on_scores(
        self, scored: Scored, believed: Believed, named: Voices, verified_texts: Collection[str]
    ) -> tuple[Rule, ...]:
        """New wording, paraphrases, neighbourhood."""
        table, scores = self.curation, scored.scores
        return (
            lambda kept: unvouched(kept, verified_texts, believed, named, scores, self.raters),
            lambda kept: without_paraphrases(kept, scored.pairs, table.paraphrase, self.turn),
            lambda kept: in_their_neighbourhood(kept, scores),
        )

    def within_cap(self, samples: Sequence[Sample], believed: Believed, scored: Scored) -> Curated:
        """Cap the share of each rater."""
        table = self.curation
        return capped(samples, believed, scored.scores, table.rater_cap)

    def verified_texts(self, candidates: Sequence[Sample]) -> frozenset[str]:
        """Texts whose wording nobody needs to vouch for."""
        trusted = {
            sample.text
            for sample in candidates
            if is_trusted(sample) or sample.provenance.get("rater") in self.raters.trusted
        }
        return frozenset(trusted.union(self.kept_out))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sifted:
    """Accepted samples with their weights, refused ones with reasons, and who stands behind."""

    kept: tuple[Sample, ...]
    refused: tuple[Refusal, ...]
    screened: tuple[Sample, ...]  # what the rules on texts alone accepted
    believed: Believed
    voices: Voices
    scored: Scored
    noise: Mislabelled  # the rule on label noise by itself
    as_given: tuple[Sample, ...] = ()  # accepted samples without that rule, with their weights
    unruled: tuple[Refusal, ...] = ()  # those refused then

    def without_noise_rule(self) -> Sifted:
        """Return the samples as the other rules leave them."""
        left_out = replace(
            self.noise, kept=self.as_given, refused=(), doubted={}, refused_doubts={}
        )
        return replace(self, kept=self.as_given, refused=self.unruled, noise=left_out)


def sift(candidates: Sequence[Sample], rules: SiftRules, ask: Ask) -> Sifted:
    """Apply every rule.

    Texts with conflicting labels are scored too: where it turns out that some voices go against
    the trusted samples, their doubted labels are taken away and the texts are screened again, so
    that nobody can have honest labels refused by contradicting them.
    """
    named = rules.voices(candidates)
    screened, unread = _apply(candidates, rules.on_texts(named))
    unsettled = tuple(item.sample for item in unread if item.reason in ("conflict", "outvoted"))
    scored = ask(screened, unsettled)
    if not rules.raters.independent:
        unanchored = {name: replace(score, anchor=None) for name, score in scored.scores.items()}
        scored = replace(scored, scores=unanchored)
    believed = believe(candidates, scored.scores, named)
    against: tuple[Refusal, ...] = ()
    if believed.contrary:
        without = contradicted(candidates, believed, scored.scores)
        against = without.refused
        screened, unread = _apply(without.kept, rules.on_texts(named))
    scored = replace(scored, scores=undisturbed(scored.scores, believed))
    known = rules.verified_texts(candidates)
    accepted, doubted = _apply(screened, rules.on_scores(scored, believed, named, known))
    noise = mislabelled(accepted, rules.dev, scored.scores, believed, rules.curation)
    learned = rules.within_cap(noise.kept, believed, scored)
    as_given = rules.within_cap(accepted, believed, scored)
    before = against + unread + doubted
    return Sifted(
        kept=weighed(learned.kept, believed),
        refused=before + noise.refused + learned.refused,
        screened=tuple(screened),
        believed=believed,
        voices=named,
        scored=scored,
        noise=noise,
        as_given=weighed(as_given.kept, believed),
        unruled=before + as_given.refused,
    )


def _apply(
    samples: Sequence[Sample], rules: Sequence[Rule]
) -> tuple[Sequence[Sample], tuple[Refusal, ...]]:
    """Apply rules one after the other; return the accepted samples and all refusals."""
    refused: tuple[Refusal, ...] = ()
    for rule in rules:
        result = rule(samples)
        samples, refused = result.kept, refused + result.refused
    return samples, refused
