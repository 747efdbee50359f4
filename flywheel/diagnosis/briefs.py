"""Briefs for the teacher: what to write for each failing intent and kind of failure. Pure.

Suspected intents get samples too: few people label by lot, and waiting for proof would leave the
intents wrong. An error of theirs counts half.

Intents that border on a failing one get samples too: samples for one side of a confusion teach a
model to prefer that side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flywheel.config.tables import SynthesisTable
from flywheel.content import content_id
from flywheel.diagnosis.budget import Claim, Prices, allocate, learned
from flywheel.diagnosis.health import worst_first
from flywheel.records import NONE, Arguments, Brief, FailureClass, Intent, IntentHealth

SUSPECTED = "; suspected, not shown."
"""How the reason of a brief ends whose intent is not shown to fail."""

_OUT_OF_SCOPE = Intent(name=NONE, description="Asks for none of the functions: out of scope")
_SHOWN = 10  # accepted samples of an intent, and of its neighbour, shown in a brief
_MAX_KINDS = 3  # briefs of one intent
_BORDER_SHARE = 0.25  # of a turn's samples, at most, for intents beside the failing ones
_SUSPECT_WORTH = 0.5  # an error of an intent that is only suspected, to one of a failing intent
_MIN_KIND_SHARE = 0.2  # of an intent's failures, for a kind to get a brief of its own

_ALWAYS = ("length", "openings", "politeness and register")
_VARY: Mapping[FailureClass, tuple[str, ...]] = {
    "border": (*_ALWAYS, "how near the sentence comes to the other function"),
    "wrong_intent": (*_ALWAYS, "how directly the function is named", "typing mistakes"),
    "should_abstain": (*_ALWAYS, "how near the sentence comes to the function without asking"),
    "abstained": (*_ALWAYS, "indirect wishes", "slang and dialect"),
    "missing_argument": ("where in the sentence the argument stands", "its wording and units"),
    "extra_argument": ("words that look like an argument and are none", *_ALWAYS),
    "wrong_argument": ("values beside words that could be taken for them", "units and spelling"),
    "malformed": (*_ALWAYS, "quotes, brackets and line noise in the sentence"),
    "unseen_wording": (
        "distance from the examples: as far in words as the failed texts",
        "slang and dialect",
        "speech-recognition errors",
        *_ALWAYS,
    ),
    "unseen_slice": ("everything but the language and the kind of speaker", *_ALWAYS),
}


# Intents that border on a failing one.


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """An intent that borders on failing intents that samples are requested for."""

    item: IntentHealth
    failing: str  # the failing intent that it is confused with most often
    confusions: int  # with all failing intents


def beside(
    intent_health: Sequence[IntentHealth], asked: Collection[str], known: Collection[str]
) -> tuple[Beside, ...]:
    """Return the most confused neighbour of each asked intent, without the asked intents.

    Args:
        found: the result of `health`.
        asked: failing intents that samples are requested for.
        known: names of the intents; `none` is never returned.
    """
    by_name = {item.intent: item for item in intent_health}
    shared: dict[str, Counter[str]] = {}
    nearest: set[str] = set()
    for item in intent_health:
        if item.intent not in asked or item.intent == NONE:
            continue
        confused = [(name, count) for name, count in item.confused_with if name in known]
        nearest.update(name for name, _ in confused[:1])
        for name, count in confused:
            shared.setdefault(name, Counter())[item.intent] += count
    return tuple(
        Beside(item=by_name[name], failing=counts.most_common(1)[0][0], confusions=counts.total())
        for name, counts in shared.items()
        if name in nearest and name in by_name and name != NONE and name not in asked
    )


# Kinds of failures. Each kind needs other samples.


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A production text that was answered wrongly."""

    text: str
    predicted: str = ""
    truth: str | None = None  # None: no rater gave the true intent
    predicted_arguments: Arguments = field(default_factory=dict)
    truth_arguments: Arguments | None = None
    slices: Mapping[str, str] = field(default_factory=dict)
    far: bool = False  # no training text shares a quarter of its words (Jaccard index)
    new_slice: str = ""  # "locale=de" where no training sample has that slice; "" otherwise


def classify(failed: Failed, known: Collection[str]) -> FailureClass:
    """Return the kind of a failure.

    An unseen slice or wording takes precedence over the confused intent, since it tells the
    teacher what to write.

    Args:
        failed: one wrongly answered text.
        known: names of the intents, `none` included.
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
    predicted, true = _present(failed.predicted_arguments), _present(failed.truth_arguments)
    if true - predicted:
        return "missing_argument"
    return "extra_argument" if predicted - true else "wrong_argument"


def _present(arguments: Arguments) -> set[str]:
    """Names of the present arguments; a null value counts as absent (`content.arguments_key`)."""
    return {name for name, value in arguments.items() if value is not None}


# Briefs.


@dataclass(frozen=True, slots=True)
class _BriefRequest:
    """A brief before its number of samples is decided."""

    item: IntentHealth
    kind: FailureClass
    texts: Sequence[Failed]
    errors: float  # estimated errors of the intent of this kind
    beside: str = ""  # the failing intent on the other side of a border; "": none


def briefs(
    intent_health: Sequence[IntentHealth],
    intents: Sequence[Intent],
    failed: Mapping[str, Sequence[Failed]],
    examples: Mapping[str, Sequence[str]],
    table: SynthesisTable,
    prices: Prices | None = None,
) -> tuple[Brief, ...]:
    """Return briefs for failing and suspected intents, most errors first, within the turn's budget.

    An intent gets a brief for each kind of failure that makes up at least a fifth of its
    failures. Where the router should have abstained, samples of `none` near the intent are
    requested. Intents that border on these get samples too (`beside`).

    Args:
        found: the result of `health`.
        intents: as configured; a failing intent that is not among them gets no brief.
        failed: wrongly answered production texts by intent, newest first.
        examples: accepted samples by intent.
        table: `per_intent`, `max_samples`, `max_usd`, and `failed_texts` shown in a brief.
        prices: the result of `learned`; None before the first purchase.
    """
    by_name = {intent.name: intent for intent in (*intents, _OUT_OF_SCOPE)}
    prices = prices or learned(())
    requests = [
        _BriefRequest(item, kind, texts, share * _claimed(item))
        for item in sorted(filter(is_written_for, intent_health), key=worst_first)
        if item.intent in by_name
        for kind, texts, share in _failure_kinds(failed.get(item.intent, ()), by_name)
    ]
    shares = _share_budget(intent_health, requests, failed, by_name, table, prices)
    written = []
    for request, samples in shares:
        if samples:
            expected = prices.recovered(request.kind, request.errors, samples)
            brief = _brief(request, by_name, examples, table.failed_texts, samples)
            written.append(_priced(brief, expected, samples * prices.usd if prices.paid else 0.0))
    return tuple(written)


def is_written_for(item: IntentHealth) -> bool:
    """Whether samples are written for the intent."""
    return item.failing or item.suspect


def _claimed(item: IntentHealth) -> float:
    return (item.errors + item.dev_errors) * (1.0 if item.failing else _SUSPECT_WORTH)


def _share_budget(
    intent_health: Sequence[IntentHealth],
    requests: Sequence[_BriefRequest],
    failed: Mapping[str, Sequence[Failed]],
    by_name: Mapping[str, Intent],
    table: SynthesisTable,
    prices: Prices,
) -> list[tuple[_BriefRequest, int]]:
    """Number of samples for each brief, in three passes.

    The first pass allocates to failing intents, without the share kept back for borders. The
    second allocates that share to bordering intents. The third allocates to failing intents again,
    with what the borders left.
    """

    def allocated(claiming: Sequence[_BriefRequest], samples: int, per_intent: int) -> list[int]:
        return allocate(
            [Claim(intent=w.item.intent, failure=w.kind, errors=w.errors) for w in claiming],
            prices,
            samples=samples,
            most=per_intent,
            chunk=max(1, min(table.per_request, per_intent)),
            usd=table.max_usd * samples / max(1, table.max_samples),
        )

    kept_back = int(table.max_samples * _BORDER_SHARE)
    first = allocated(requests, table.max_samples - kept_back, table.per_intent)
    served = {request.item.intent for request, count in zip(requests, first, strict=True) if count}
    borders = [
        _BriefRequest(
            neighbour.item,
            "border",
            failed.get(neighbour.failing, ()),
            neighbour.confusions,
            neighbour.failing,
        )
        for neighbour in beside(intent_health, served, by_name)
    ]
    sides = allocated(borders, kept_back, table.per_intent // 2)
    final = allocated(requests, table.max_samples - sum(sides), table.per_intent)
    served = {request.item.intent for request, count in zip(requests, final, strict=True) if count}
    border_shares = [
        pair for pair in zip(borders, sides, strict=True) if pair[0].item.intent not in served
    ]
    return [*zip(requests, final, strict=True), *border_shares]


def _failure_kinds(
    failed: Sequence[Failed], by_name: Mapping[str, Intent]
) -> list[tuple[FailureClass, list[Failed], float]]:
    """(kind, its failures, its share 0..1), most frequent first; rare kinds join the first."""
    if not failed:
        return [("wrong_intent", [], 1.0)]
    kinds = [classify(failure, by_name) for failure in failed]
    counts = Counter(kinds).most_common()
    frequent = [
        kind for kind, count in counts[:_MAX_KINDS] if count >= _MIN_KIND_SHARE * len(failed)
    ]
    frequent = frequent or [counts[0][0]]
    groups: dict[FailureClass, list[Failed]] = {kind: [] for kind in frequent}
    for kind, failure in zip(kinds, failed, strict=True):
        groups[kind if kind in groups else frequent[0]].append(failure)
    return [(kind, texts, len(texts) / len(failed)) for kind, texts in groups.items()]


def _brief(
    request: _BriefRequest,
    by_name: Mapping[str, Intent],
    examples: Mapping[str, Sequence[str]],
    max_texts: int,
    ask: int,
) -> Brief:
    """Build one brief. Failed texts whose true intent is the neighbour become contrast examples."""
    item, kind, failed = request.item, request.kind, request.texts
    intent, neighbour = by_name[item.intent], _neighbour(request, by_name)
    if kind == "should_abstain" and item.intent != NONE:
        intent, neighbour = _OUT_OF_SCOPE, intent
    failed_texts = tuple(
        dict.fromkeys(row.text for row in failed if _belongs_to(row, request, intent))
    )[:max_texts]
    accepted = tuple(examples.get(intent.name, ())[:_SHOWN])
    contrast: tuple[str, ...] = ()
    if neighbour:
        claimed = [row.text for row in failed if row.truth == neighbour.name][:max_texts]
        contrast = tuple(dict.fromkeys((*claimed, *examples.get(neighbour.name, ())[:_SHOWN])))
    slices = _slices(failed) if kind == "unseen_slice" else {}
    why = _border_reason(request) if request.beside else _reason(item)
    described = [
        {"name": side.name, "description": side.description, "parameters": side.parameters}
        for side in (intent, neighbour)
        if side is not None
    ]
    return Brief(
        id=content_id("b", [described, kind, failed_texts, accepted, contrast, slices, ask, why]),
        intent=intent,
        neighbour=neighbour,
        failed_texts=failed_texts,
        examples=accepted,
        contrast=contrast,
        ask=ask,
        why=why,
        failure=kind,
        vary=_VARY[kind],
        slices=slices,
        rated=item.intent,
        rate=item.error_rate or 0.0,
    )


def _belongs_to(failed: Failed, request: _BriefRequest, intent: Intent) -> bool:
    """Whether a failed text belongs to the intent; at a border, only where a rater said so."""
    return failed.truth == intent.name or (failed.truth is None and not request.beside)


def _priced(brief: Brief, expected: float, usd: float) -> Brief:
    return replace(brief, expected=round(expected, 2), usd=round(usd, 6))


def _neighbour(request: _BriefRequest, by_name: Mapping[str, Intent]) -> Intent | None:
    if request.beside:
        return by_name[request.beside]
    if request.kind == "abstained":
        return by_name[NONE]
    return next((by_name[name] for name, _ in request.item.confused_with if name in by_name), None)


def _slices(failed: Sequence[Failed]) -> dict[str, str]:
    """The most frequent unseen slice of these texts."""
    (commonest, _), *_ = Counter(
        failure.new_slice for failure in failed if failure.new_slice
    ).most_common(1)
    name, _, value = commonest.partition("=")
    return {name: value}


def _border_reason(request: _BriefRequest) -> str:
    times = f"{request.errors:.0f} time" + ("" if request.errors == 1 else "s")
    return (
        f"{request.item.intent} stands beside {request.beside}, which does badly: confused with "
        f"such intents {times}. Samples of its own keep the border where it is."
    )


def _reason(item: IntentHealth) -> str:
    """One sentence with the error counts of production and dev, and what they come to."""
    parts = []
    if item.error_rate is not None and item.errors:
        parts.append(
            f"wrong in {item.errors} of {item.feedback} labelled predictions "
            f"({item.error_rate:.0%}, at least {item.low:.0%})"
        )
    if item.dev_errors:
        parts.append(f"wrong in {item.dev_errors} of {item.dev_n} dev examples")
    confused = (
        f", most often confused with {item.confused_with[0][0]}" if item.confused_with else ""
    )
    end = "." if item.failing else SUSPECTED
    return f"{item.intent} is {' and '.join(parts)}{confused}{end}"
