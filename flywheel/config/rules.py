"""[gates.NAME]: what each gate holds a challenger to. The field comments are the reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class HygieneRule:
    """[gates.hygiene]: nothing of the golden set may have reached training."""

    jaccard: float = 0.80  # word sets; character bigrams where a script has no spaces


@dataclass(frozen=True, slots=True, kw_only=True)
class MustPassRule:
    """[gates.must_pass]: every example marked must-pass is right."""

    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class OverallRule:
    """[gates.overall]: the challenger is better overall."""

    profile: Literal["strict", "fast"] = "strict"  # strict: alpha / queries; fast: .05 each turn
    alpha: float = 0.10  # chance of a false promotion over a golden generation (strict)
    queries: int = 30  # that a golden generation answers (strict)
    alpha_fast: float = 0.05  # chance of a false promotion each turn (fast)
    prescreen_p: float = 1.0  # below 1: ask the golden set only when dev says p <= this


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshRule:
    """[gates.fresh]: not worse on verified production samples never used before."""

    required: bool = False
    min_examples: int = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentsRule:
    """[gates.intents]: each intent shows that it did not lose the margin."""

    margin: float = 0.20  # recall an intent may not have lost
    critical_margin: float = 0.10  # the same for critical intents
    max_labels_per_intent: int = 100  # asked for before a person decides
    max_labels_per_turn: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicesRule:
    """[gates.slices]: each configured slice shows that it did not lose its margin."""

    margins: dict[str, float] = field(default_factory=dict)  # { "channel=voice" = 0.20 }


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfScopeRule:
    """[gates.out_of_scope]: neither false accepts nor false rejects rise by the margin."""

    required: bool = False
    margin: float = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRule:
    """[gates.calibration]: the paired Brier score does not get worse."""

    required: bool = False
    max_increase: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRule:
    """[gates.latency]: at most 5 % of answers take longer than `limit_ms`."""

    required: bool = False
    limit_ms: float = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomRule:
    """[gates.OWN]: a gate of your own, by any other name; every further key is its option."""

    plugin: str  # plugins/NAME.py, or entry point in `flywheel.gates`
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatesTable:
    """[gates.NAME]: one table a gate."""

    hygiene: HygieneRule = HygieneRule()
    must_pass: MustPassRule = MustPassRule()
    overall: OverallRule = OverallRule()
    fresh: FreshRule = FreshRule()
    intents: IntentsRule = IntentsRule()
    slices: SlicesRule = SlicesRule()
    out_of_scope: OutOfScopeRule = OutOfScopeRule()
    calibration: CalibrationRule = CalibrationRule()
    latency: LatencyRule = LatencyRule()
    custom: dict[str, CustomRule] = field(default_factory=dict)
