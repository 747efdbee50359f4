"""What the gates are shown, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flywheel.gates.pools import Pool, PoolVerdict
from flywheel.records import GateResult, Intent, IntentVerdict, Outcome, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class HygieneFacts:
    """How the challenger came to be, as far as the golden set is concerned."""

    leaks: tuple[str, ...] = ()  # training texts too close to golden ones, for a person to read
    sealed_hash: str = ""  # of the golden generation when it was sealed
    current_hash: str = ""  # of the golden rows judged now
    trained_hash: str = ""  # content id of the adapter as trained
    evaluated_hash: str = ""  # content id of the adapter as evaluated
    chosen_on: str = ""  # split that chose checkpoint and threshold; must be "dev"
    champion_rows: int = 0  # rows each model answered
    challenger_rows: int = 0
    golden_in_prompts: int = 0  # golden texts found in the teacher's prompts
    champion_unknown: bool = False  # the champion's dataset is gone: what it learned is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What a golden generation has been asked already."""

    generation: int
    used: int  # queries before this one
    capacity: int  # queries the generation answers
    earlier_overall: GateResult | None = None  # this challenger's own first answer, carried

    @property
    def spent(self) -> bool:
        """Whether no further challenger may ask."""
        return self.used >= self.capacity


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtWording:
    """A new wording that few raters taught, and what it does to texts of other intents."""

    wording: str  # a hash of it: what people said is in the turn's record
    intent: str
    texts: int  # learned ones that have it
    voices: int  # independent raters who taught them
    asked: int  # texts of other intents into which it was put
    turned: int  # of them, those that only the challenger then answers with the intent


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedAnswers:
    """How the challenger answers recent texts, and texts with what few raters taught it."""

    wordings: tuple[TaughtWording, ...] = ()
    needed: int = 0  # voices from which a wording is not looked at
    recent: int = 0  # production texts that both models were asked
    moved: int = 0  # of them, those with another answer than before
    looked: bool = True  # False: the challenger was evaluated before there was this gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything the gates look at."""

    outcomes: tuple[Outcome, ...] = ()  # golden rows, bought ones included
    fresh: tuple[Outcome, ...] = ()
    dev: tuple[Outcome, ...] = ()
    hygiene: HygieneFacts | None = None
    ledger: Ledger | None = None
    intents: tuple[Intent, ...] = ()
    latency_ms: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    # "challenger" and, interleaved on the same machine, "champion"
    asked: Mapping[str, int] = field(default_factory=dict)  # labels this turn bought, by intent
    first: bool = False  # there is no champion: nothing to compare with
    fresh_waiting: int = 0  # fresh samples that are there, too few to be asked yet
    disputed: tuple[str, ...] = ()  # golden samples set aside: doubted before they were asked
    doubted: tuple[str, ...] | None = None  # those in doubt by the last word; None: `disputed`
    changed: ChangedAnswers | None = None  # None: of a time before the gate
    met: tuple[str, ...] = ()  # bought labels left out: the challenger met their like in training
    pools: tuple[Pool, ...] = ()  # intents judged together, fixed before an outcome was read
    offered: Mapping[str, int] | None = None  # unlabelled texts of traffic, by intent
    fresh_judges: bool = False  # fresh rows judge single intents too; not in earlier versions
    contradicting: tuple[tuple[str, str], ...] = ()
    # pairs of golden samples with one text and two labels: neither judges
    learned: tuple[str, ...] = ()  # golden samples that the champion learned, or learned their like


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The gates' verdicts; `notes` say which gates had no word, and why."""

    gates: tuple[GateResult, ...]
    intents: tuple[IntentVerdict, ...] = ()
    labels_wanted: Mapping[str, int] = field(default_factory=dict)
    capped: tuple[str, ...] = ()  # undecided intents that may be asked no further label
    notes: tuple[str, ...] = ()
    if_doubted: Verdict | None = None  # the verdict without all rows in doubt, where they differ
    pools: tuple[PoolVerdict, ...] = ()
    beyond: Mapping[str, int] = field(default_factory=dict)
    # by intent or pool: golden rows to import, for traffic has too few texts to decide
    group: str = ""  # line of config.toml that would judge those together

    @property
    def verdict(self) -> Verdict:
        """FAIL if any gate fails, PASS if there are gates and all pass."""
        verdicts = {result.verdict for result in self.gates}
        if "FAIL" in verdicts:
            return "FAIL"
        return "PASS" if verdicts == {"PASS"} else "INCONCLUSIVE"

    def gate(self, name: str) -> GateResult | None:
        """The result of one gate; None when it had no word."""
        return next((result for result in self.gates if result.gate == name), None)
