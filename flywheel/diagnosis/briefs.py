"""What should be written for the failing intents: one brief for each kind of failure.

Pure. Intents that border on a failing one get samples too.
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

# Which intents stand beside those that samples are asked for: their border moves too.
#
# Samples of one side of a confusion teach a model to take more for that side. So the other side
# gets some of its own.
#
# Pure.


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """An intent next to one that samples are asked for."""

    item: IntentHealth
    failing: str  # the one of those that it is confused with most often
    confusions: int  # with all of those


def beside(
    found: Sequence[IntentHealth], asked: Collection[str], known: Collection[str]
) -> tuple[Beside, ...]:
    """Return every intent that an asked one is confused with most often, and that is not asked.

    Args:
        found: as `health` gave it.
        asked: failing intents that samples are written for.
        known: names of the intents; `none` is no neighbour to write for.
    """
    of_name = {item.intent: item for item in found}
    shared: dict[str, Counter[str]] = {}
    nearest: set[str] = set()
    for item in found:
        if item.intent not in asked or item.intent == NONE:
            continue
        others = [(name, count) for name, count in item.confused_with if name in known]
        nearest.update(name for name, _ in others[:1])
        for name, count in others:
            shared.setdefault(name, Counter())[item.intent] += count
    return tuple(
        Beside(item=of_name[name], failing=counts.most_common(1)[0][0], confusions=counts.total())
        for name, counts in shared.items()
        if name in nearest and name in of_name and name != NONE and name not in asked
    )


# What kind of failure is it? Each kind is mended by other samples.
#
# Pure.


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A production text that was answered wrongly."""

    text: str
    predicted: str = ""
    truth: str | None = None  # None: nobody said what would have been right
    predicted_arguments: Arguments = field(default_factory=dict)
    truth_arguments: Arguments | None = None
    slices: Mapping[str, str] = field(default_factory=dict)
    far: bool = False  # no training text shares a fair part of its words
    new_slice: str = ""  # "locale=de" where no training sample has that slice; "" otherwise


def classify(failed: Failed, known: Collection[str]) -> FailureClass:
    """Return the kind of a failure.

    What the text is like, a slice or a wording never trained on, comes before what it was
    confused with: it says what to write.

    Args:
        failed: what happened.
        known: names of the intents, `none` among them.
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
    said, right = _given(failed.predicted_arguments), _given(failed.truth_arguments)
    if right - said:
        return "missing_argument"
    return "extra_argument" if said - right else "wrong_argument"


def _given(arguments: Arguments) -> set[str]:
    """Names of the arguments that are there; null is what is not (`content.arguments_key`)."""
    return {name for name, value in arguments.items() if value is not None}


_OUT_OF_SCOPE = Intent(name=NONE, description="Asks for none of the functions: out of scope")
_SHOWN = 10  # accepted samples of an intent, and of its neighbour, shown in a brief
_KINDS = 3  # briefs an intent gets at most
_BESIDE = 0.25  # share of a turn's samples that intents beside the failing ones may get
_LEAST = 0.2  # share of an intent's failures that earns a kind a brief of its own

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


@dataclass(frozen=True, slots=True)
class _Want:
    """What one brief would ask for."""

    item: IntentHealth
    kind: FailureClass
    texts: Sequence[Failed]
    errors: float  # of the intent, of this kind
    beside: str = ""  # the failing intent on the other side of a border


def briefs(
    found: Sequence[IntentHealth],
    intents: Sequence[Intent],
    failed: Mapping[str, Sequence[Failed]],
    examples: Mapping[str, Sequence[str]],
    table: SynthesisTable,
    prices: Prices | None = None,
) -> tuple[Brief, ...]:
    """Write briefs for the failing intents, most errors first, within the turn's budget.

    An intent gets a brief for each kind of failure that makes up a fair part of its failures.
    Where the router should have abstained, samples of `none` near the intent are asked for. An
    intent beside one that is written for gets samples too: its border must not move.

    Args:
        found: as `health` gave it.
        intents: as configured; a failing intent that is not among them gets no brief.
        failed: production texts an intent failed on, newest first.
        examples: accepted samples by intent.
        table: `per_intent`, `max_samples` and `max_usd`; `failed_texts` shown.
        prices: what earlier turns taught; None for nothing yet.
    """
    known = {intent.name: intent for intent in (*intents, _OUT_OF_SCOPE)}
    prices = prices or learned(())
    wants = [
        _Want(item, kind, texts, share * (item.errors + item.dev_errors))
        for item in sorted((item for item in found if item.failing), key=worst_first)
        if item.intent in known
        for kind, texts, share in _kinds(failed.get(item.intent, ()), known)
    ]
    asked = _shared_out(found, wants, failed, known, table, prices)
    written = []
    for want, ask in asked:
        if ask:
            expected = prices.recovered(want.kind, want.errors, ask)
            brief = _brief(want, known, examples, table.failed_texts, ask)
            written.append(_priced(brief, expected, ask * prices.usd if prices.paid else 0.0))
    return tuple(written)


def _shared_out(
    found: Sequence[IntentHealth],
    wants: Sequence[_Want],
    failed: Mapping[str, Sequence[Failed]],
    known: Mapping[str, Intent],
    table: SynthesisTable,
    prices: Prices,
) -> list[tuple[_Want, int]]:
    """What each gets: first who fails, then who stands beside, then who fails with what is left."""

    def given(claiming: Sequence[_Want], samples: int, most: int) -> list[int]:
        return allocate(
            [Claim(intent=w.item.intent, failure=w.kind, errors=w.errors) for w in claiming],
            prices,
            samples=samples,
            most=most,
            chunk=max(1, min(table.per_request, most)),
            usd=table.max_usd * samples / max(1, table.max_samples),
        )

    kept_back = int(table.max_samples * _BESIDE)
    first = given(wants, table.max_samples - kept_back, table.per_intent)
    asked = {want.item.intent for want, ask in zip(wants, first, strict=True) if ask}
    borders = [
        _Want(each.item, "border", failed.get(each.failing, ()), each.confusions, each.failing)
        for each in beside(found, asked, known)
    ]
    sides = given(borders, kept_back, table.per_intent // 2)
    last = given(wants, table.max_samples - sum(sides), table.per_intent)
    asked = {want.item.intent for want, ask in zip(wants, last, strict=True) if ask}
    beside_them = [
        pair for pair in zip(borders, sides, strict=True) if pair[0].item.intent not in asked
    ]
    return [*zip(wants, last, strict=True), *beside_them]


def _kinds(
    failed: Sequence[Failed], known: Mapping[str, Intent]
) -> list[tuple[FailureClass, list[Failed], float]]:
    """Kinds worth a brief with their texts and their share; the rarer ones join the first."""
    if not failed:
        return [("wrong_intent", [], 1.0)]
    kinds = [classify(each, known) for each in failed]
    counts = Counter(kinds).most_common()
    kept = [kind for kind, count in counts[:_KINDS] if count >= _LEAST * len(failed)]
    kept = kept or [counts[0][0]]
    groups: dict[FailureClass, list[Failed]] = {kind: [] for kind in kept}
    for kind, each in zip(kinds, failed, strict=True):
        groups[kind if kind in groups else kept[0]].append(each)
    return [(kind, texts, len(texts) / len(failed)) for kind, texts in groups.items()]


def _brief(
    want: _Want,
    known: Mapping[str, Intent],
    examples: Mapping[str, Sequence[str]],
    most: int,
    ask: int,
) -> Brief:
    """Failed texts that were the neighbour's are contrast: they show where the border lies."""
    item, kind, failed = want.item, want.kind, want.texts
    intent, neighbour = known[item.intent], _neighbour(want, known)
    if kind == "should_abstain" and item.intent != NONE:
        intent, neighbour = _OUT_OF_SCOPE, intent
    shown = tuple(dict.fromkeys(each.text for each in failed if _asks_for(each, want, intent)))[
        :most
    ]
    accepted = tuple(examples.get(intent.name, ())[:_SHOWN])
    contrast: tuple[str, ...] = ()
    if neighbour:
        claimed = [each.text for each in failed if each.truth == neighbour.name][:most]
        contrast = tuple(dict.fromkeys((*claimed, *examples.get(neighbour.name, ())[:_SHOWN])))
    slices = _slices(failed) if kind == "unseen_slice" else {}
    why = _why_beside(want) if want.beside else _why(item)
    described = [
        {"name": each.name, "description": each.description, "parameters": each.parameters}
        for each in (intent, neighbour)
        if each is not None
    ]
    return Brief(
        id=content_id("b", [described, kind, shown, accepted, contrast, slices, ask, why]),
        intent=intent,
        neighbour=neighbour,
        failed_texts=shown,
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


def _asks_for(failed: Failed, want: _Want, intent: Intent) -> bool:
    """Whether a text is of the intent; beside a failing one, only where a rater said so."""
    return failed.truth == intent.name or (failed.truth is None and not want.beside)


def _priced(brief: Brief, expected: float, usd: float) -> Brief:
    return replace(brief, expected=round(expected, 2), usd=round(usd, 6))


def _neighbour(want: _Want, known: Mapping[str, Intent]) -> Intent | None:
    if want.beside:
        return known[want.beside]
    if want.kind == "abstained":
        return known[NONE]
    return next((known[name] for name, _ in want.item.confused_with if name in known), None)


def _slices(failed: Sequence[Failed]) -> dict[str, str]:
    """The new slice that most of these texts come from."""
    (most, _), *_ = Counter(each.new_slice for each in failed if each.new_slice).most_common(1)
    name, _, value = most.partition("=")
    return {name: value}


def _why_beside(want: _Want) -> str:
    times = f"{want.errors:.0f} time" + ("" if want.errors == 1 else "s")
    return (
        f"{want.item.intent} stands beside {want.beside}, which fails: confused with failing "
        f"intents {times}. Samples of its own keep the border where it is."
    )


def _why(item: IntentHealth) -> str:
    """One sentence with the numbers, from production where there are any."""
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
    return f"{item.intent} is {' and '.join(parts)}{confused}."
