"""Health of intents: does today's champion fail, by what evidence, and what would tell more?

Pure functions of counts. An intent fails only by evidence that would hardly come about while its
error rate is tolerated (`metrics.error_rates`), and never by a point estimate. Labels drawn by lot
are its rate; volunteered ones are read with the bias of their stream (`bias`); dev is what the
champion was evaluated on. The three are judged apart, for each is another sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from flywheel.config.tables import IntentsTable
from flywheel.diagnosis.bias import Stream, stream
from flywheel.diagnosis.counts import IntentCounts, judged_names, volumes
from flywheel.diagnosis.doubt import Doubt, labels_that_tell, worth_asking
from flywheel.metrics import (
    IntentPair,
    Tallies,
    difference,
    e_bh,
    e_threshold,
    error_e_value,
    wilson,
)
from flywheel.records import Intent, IntentHealth, ShownBy

Trend = Literal["worse", "better", "flat", "unknown"]

FALSE_ALARMS = 0.10
"""Expected share of tolerable intents among those that one kind of evidence shows, at most."""

_BET_ON_ANSWERED = 0.8  # of the stake, on what is answered as the intent; the rest on both sides
_LEAST_ERRORS = 3  # volunteered, for a suspicion
_TIMES_USUAL = 2.0  # the usual share of complaints
_LEAST_DEV_ERRORS = 2
_LEAST_AUDIT_ERRORS = 2
_REFERENCE_LABELS = 50  # of the audit, to stand for all traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionLabels:
    """Labels of today's champion beside the volunteered ones."""

    served: Tallies | None = None  # its own answers in production, and the volunteered labels of
    # them; None: production's answers are all its own
    audit: tuple[IntentPair, ...] = ()  # drawn by lot from all traffic
    asked: tuple[IntentPair, ...] = ()  # drawn by lot from what it answers as one intent
    recorded: tuple[int, int] | None = None  # volunteered (right, wrong) verdicts, as given; None:
    # as the champion's answers
    dev: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # (examples, errors) by intent


NO_OTHER_LABELS = ChampionLabels()


def health(
    tallies: Tallies,
    intents: Sequence[Intent],
    table: IntentsTable,
    *,
    labels: ChampionLabels = NO_OTHER_LABELS,
    earlier: Tallies | None = None,
    recent: Tallies | None = None,
) -> tuple[IntentHealth, ...]:
    """Return the health of every intent: failing ones by errors, suspects by errors, the others.

    Args:
        tallies: predictions of the whole window, and volunteered labels of today's champion.
        intents: as configured; `none` is included when it occurs.
        table: `max_error_rate`, `confidence`.
        labels: what else is known of today's champion.
        earlier, recent: the two halves of the window that the trend compares, whoever answered.
    """
    gathered = _Gathered(tallies, intents, labels)
    before = IntentCounts((earlier or Tallies()).pairs, intents)
    after = IntentCounts((recent or Tallies()).pairs, intents)
    names = judged_names(intents, {*+gathered.volume, *+gathered.everything.labels, *labels.dev})
    verdicts = _Verdicts(gathered, names, table)
    judged = [
        _judge(name, gathered, verdicts, _trend(name, before, after, table), table)
        for name in names
    ]
    return tuple(sorted(judged, key=worst_first))


@dataclass(frozen=True, slots=True)
class _Traffic:
    """Answers, and what people said of some of them: what nobody rated counts as right."""

    given: IntentCounts
    volume: Mapping[str, int]

    def errors(self, name: str) -> tuple[int, int]:
        """(errors, answers) that concern an intent. Of what should have been answered as the
        intent only the rated misses are known."""
        missed = self.given.labels[name] - self.given.answered[name]
        answered = max(self.volume.get(name, 0), self.given.answered[name])
        return self.given.errors[name], answered + missed

    @property
    def usual(self) -> float:
        """Share of all answers that people complain of."""
        total = max(sum(self.volume.values()), self.given.total)
        return self.given.total_errors / total if total else 0.0


class _Gathered:
    """The counts of every kind of evidence."""

    def __init__(self, tallies: Tallies, intents: Sequence[Intent], labels: ChampionLabels) -> None:
        served = labels.served or tallies
        self.volunteered = IntentCounts(tallies.pairs, intents)
        self.audit = IntentCounts(labels.audit, intents)
        self.asked = IntentCounts(labels.asked, intents)
        self.everything = IntentCounts((*tallies.pairs, *labels.audit, *labels.asked), intents)
        self.volume = volumes(tallies.volume, intents)
        own = _Traffic(IntentCounts(served.pairs, intents), volumes(served.volume, intents))
        self.own = own  # what it answered itself
        # All of the window: it is known to be wrong where it was asked a text anew and somebody had
        # named another intent. Whom the other texts are answered as is not known of it.
        self.window = _Traffic(self.volunteered, self.volume)
        self.dev = labels.dev
        given = self.volunteered
        self.reference = _reference(self.audit, labels.dev)
        self.stream = stream(
            (given.total_errors, given.total),
            (given.total - given.total_errors, given.total_errors)
            if labels.recorded is None
            else labels.recorded,
            self.reference,
        )

    def lot(self, name: str) -> tuple[int, int]:
        """(errors, labels) of what was drawn by lot and concerns the intent."""
        return (
            self.audit.errors[name] + self.asked.answered_errors[name],
            self.audit.labels[name] + self.asked.answered[name],
        )

    def dev_of(self, name: str) -> tuple[int, int]:
        """(errors, examples) on dev."""
        n, errors = self.dev.get(name, (0, 0))
        return errors, n


def _reference(audit: IntentCounts, dev: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """(errors, labels) of the champion where nobody chose what was labelled."""
    if audit.total >= _REFERENCE_LABELS:
        return audit.total_errors, audit.total
    return sum(errors for _, errors in dev.values()), sum(n for n, _ in dev.values())


class _Verdicts:
    """Which intents fail by which kind of evidence, and which are suspected."""

    def __init__(self, gathered: _Gathered, names: Sequence[str], table: IntentsTable) -> None:
        self._gathered, self._table = gathered, table
        bound = table.max_error_rate
        self._by_lot = {name: self._lot_e_value(name) for name in names}
        by_kind: dict[ShownBy, dict[str, float]] = {
            "audit": self._by_lot,
            "feedback": {name: self._feedback_e_value(name) for name in names},
            "dev": {name: error_e_value(*gathered.dev_of(name), bound) for name in names},
        }
        self.shown = {kind: e_bh(values, FALSE_ALARMS) for kind, values in by_kind.items()}
        self.needed = e_threshold(len(names), len(self.shown["audit"]) + 1, FALSE_ALARMS)

    def shown_by(self, name: str) -> tuple[ShownBy, ...]:
        """The kinds of evidence that show that the intent fails; the audit is the rate, so where
        it clears an intent the others do not count.
        """
        kinds = tuple(kind for kind, shown in self.shown.items() if name in shown)
        return kinds if "audit" in kinds or not self.cleared(name) else ()

    def cleared(self, name: str) -> bool:
        """Whether labels drawn by lot leave little doubt that the intent does well."""
        _, n = self._gathered.lot(name)
        return n > 0 and not worth_asking(self.doubt(name), self._table.max_error_rate)

    def _lot_e_value(self, name: str) -> float:
        """What is answered as an intent may be asked about as often as it tells; what is missed
        of it comes only with the uniform audit, since nobody knows where to look for it."""
        audit, asked, bound = self._gathered.audit, self._gathered.asked, self._table.max_error_rate
        answered = error_e_value(
            audit.answered_errors[name] + asked.answered_errors[name],
            audit.answered[name] + asked.answered[name],
            bound,
        )
        concerned = error_e_value(audit.errors[name], audit.labels[name], bound)
        return _BET_ON_ANSWERED * answered + (1 - _BET_ON_ANSWERED) * concerned

    def _feedback_e_value(self, name: str) -> float:
        """Half on the rate of what was rated, read with the stream's bias, and half on the errors
        among all answers, which need no such reading."""
        gathered, bound = self._gathered, self._table.max_error_rate
        of_all = error_e_value(*gathered.own.errors(name), bound)
        if gathered.stream.kind == "complaints":
            return of_all
        given = gathered.volunteered
        rated = error_e_value(given.errors[name], given.labels[name], gathered.stream.bound(bound))
        return (rated + of_all) / 2

    def doubt(self, name: str) -> Doubt:
        """What is known by lot."""
        errors, n = self._gathered.lot(name)
        return Doubt(intent=name, errors=errors, n=n, suspected=self._leans(name))

    def suspected(self, name: str) -> bool:
        """Whether evidence leans against the intent, and the audit has not cleared it."""
        errors, n = self._gathered.lot(name)
        by_lot = errors >= _LEAST_AUDIT_ERRORS and self._above(errors, n)
        return by_lot or (self._leans(name) and not self.cleared(name))

    def _leans(self, name: str) -> bool:
        """Whether volunteered labels or dev lean against the intent."""
        errors, n = self._gathered.dev_of(name)
        if errors >= _LEAST_DEV_ERRORS and self._above(errors, n):
            return True
        given, feedback = self._gathered.volunteered, self._gathered.stream
        if given.errors[name] < _LEAST_ERRORS:
            return False
        if feedback.kind == "complaints":
            return self._complained_of_most(name)
        bound = self._table.max_error_rate
        read_as = feedback.bound(bound) if feedback.known else bound
        return self._above(given.errors[name], given.labels[name], read_as)

    def _complained_of_most(self, name: str) -> bool:
        """Whether complaints are as many among all answers as a bad error rate would bring: among
        its own, or among all of the window, where it repeats what was complained of.

        The share of errors that people complain of is taken from all answers, where the audit or
        dev says how often the champion errs; else twice the usual share of complaints is too many.
        """
        bound = self._table.max_error_rate
        errors, n = self._gathered.reference
        times = bound * n / errors if errors >= _LEAST_ERRORS else _TIMES_USUAL
        return any(
            self._above(*each.errors(name), min(bound, each.usual * times))
            for each in (self._gathered.own, self._gathered.window)
        )

    def _above(self, errors: int, n: int, bound: float | None = None) -> bool:
        low, _ = wilson(errors, n, self._table.confidence)
        return low > (self._table.max_error_rate if bound is None else bound)


def _judge(
    name: str, gathered: _Gathered, verdicts: _Verdicts, trend: Trend, table: IntentsTable
) -> IntentHealth:
    everything = gathered.everything
    n, errors = everything.labels[name], everything.errors[name]
    low, high = wilson(errors, n, table.confidence)
    dev_errors, dev_n = gathered.dev_of(name)
    lot_errors, lot_n = gathered.lot(name)
    shown_by = verdicts.shown_by(name)
    confused = everything.confused.get(name, Counter[str]())
    return IntentHealth(
        intent=name,
        predictions=gathered.volume[name],
        feedback=n,
        errors=errors,
        error_rate=errors / n if n else None,
        low=low,
        high=high,
        failing=bool(shown_by),
        suspect=not shown_by and verdicts.suspected(name),
        cleared=not shown_by and verdicts.cleared(name),
        shown_by=shown_by,
        stream=gathered.stream.kind if gathered.volunteered.labels[name] else "nothing",
        audit_n=lot_n,
        audit_errors=lot_errors,
        audit_wanted=0
        if shown_by
        else labels_that_tell(verdicts.doubt(name), table.max_error_rate, verdicts.needed),
        confused_with=tuple(sorted(confused.items(), key=lambda pair: (-pair[1], pair[0]))),
        trend=trend,
        dev_n=dev_n,
        dev_errors=dev_errors,
    )


def _trend(name: str, before: IntentCounts, after: IntentCounts, table: IntentsTable) -> Trend:
    """Trend by Newcombe's interval of the change in error rate.

    "flat" only when the interval excludes a change of `max_error_rate` in either direction;
    "unknown" when it is wider than that.
    """
    low, high = difference(
        before.errors[name],
        before.labels[name],
        after.errors[name],
        after.labels[name],
        table.confidence,
    )
    if low > 0:
        return "worse"
    if high < 0:
        return "better"
    return "flat" if max(-low, high) < table.max_error_rate else "unknown"


def worst_first(item: IntentHealth) -> tuple[bool, bool, int, str]:
    """Sort key: failing intents by errors, most first, suspects likewise, then others by name."""
    errors = item.errors + item.dev_errors if item.failing or item.suspect else 0
    return not item.failing, not item.suspect, -errors, item.intent


def feedback_stream(
    tallies: Tallies, intents: Sequence[Intent], labels: ChampionLabels = NO_OTHER_LABELS
) -> Stream:
    """Return how the volunteered feedback came; arguments as of `health`."""
    return _Gathered(tallies, intents, labels).stream
