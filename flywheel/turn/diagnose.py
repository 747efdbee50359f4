"""Step 1: which intents fail in production, what to write for them, and what that would cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from flywheel import curation, diagnosis, lineage
from flywheel.diagnosis import Failed, Lesson
from flywheel.records import Brief, IntentHealth
from flywheel.store import Connection, adapters, decisions, health, samples, turns
from flywheel.store.turns import Turn
from flywheel.teacher import prompts, redaction
from flywheel.turn.runtime import Runtime, StepResult

# What a sample of the teacher costs by the configured prices, before anything was bought.

_BYTES_PER_TOKEN = 3.0  # on the dear side for English
_WRITTEN = 40  # tokens of one written sample
_PROMPT = 1200  # tokens of a usual request: the rules, ten failed texts, two intents
_LABEL = 30  # tokens out for a sample in the label-free question
_SENTENCE = "wake me at seven tomorrow please"  # as long as what is usually asked about


def of_brief(runtime: Runtime, brief: Brief) -> tuple[tuple[prompts.Request, ...], float]:
    """Return a brief's requests as they would leave the machine, and their price in US dollars."""
    teacher, synthesis = runtime.config.teacher, runtime.config.synthesis
    people = redaction.finder(teacher.names_model) if teacher.redact else None
    requests = prompts.requests(brief, synthesis.per_request, redact=teacher.redact, names=people)
    return requests, _price(runtime, sum(map(_tokens, requests)), brief.ask)


def of_sample(runtime: Runtime) -> float:
    """Return the usual price of one sample in US dollars; 0 where no prices are configured."""
    return _price(runtime, _PROMPT / max(1, runtime.config.synthesis.per_request), 1)


def _price(runtime: Runtime, sent: float, samples: int) -> float:
    """Of prompts of so many tokens and the samples that they ask for, the second question too."""
    teacher = runtime.config.teacher
    received = float(_WRITTEN)
    if runtime.config.synthesis.verify:
        texts = [_SENTENCE] * prompts.TOGETHER
        sent += samples * _tokens(prompts.question(texts, runtime.intents)) / prompts.TOGETHER
        received += _LABEL
    dear = sent * teacher.usd_per_million_input
    return (dear + received * samples * teacher.usd_per_million_output) / 1e6


def _tokens(request: prompts.Request) -> float:
    return sum(len(str(each["content"]).encode()) for each in request.messages) / _BYTES_PER_TOKEN


_LOOKED_AT = 6  # failures read for one text shown
_FAMILIAR = 0.25  # word-set Jaccard to a training text; wording without any such is unseen
_LOOKED_BACK = 12  # turns whose purchases teach what samples are worth
_EXAMPLES = 5  # accepted samples of an intent, and of its neighbour, shown in a brief


def diagnose(runtime: Runtime, turn: Turn) -> StepResult:
    """Judge every intent by its interval and write a brief for each failing one."""
    with runtime.store.read() as con:
        found, briefs = wanted(runtime, con)
    failing = [item for item in found if item.failing]
    names = ", ".join(item.intent for item in failing[:5]) + (" …" if len(failing) > 5 else "")
    judged = sum(1 for item in found if item.feedback)
    return StepResult(
        next_state="synthesize",
        detail=f"{len(failing)} of {len(found)} intents fail"
        + (names and f": {names}")
        + f"; {judged} have feedback",
        outputs=lambda record: dataclasses.replace(record, briefs=briefs),
    )


def wanted(runtime: Runtime, con: Connection) -> tuple[tuple[IntentHealth, ...], tuple[Brief, ...]]:
    """How the intents do, and the briefs that a turn would write for them now."""
    found = intent_health(runtime, con, runtime.clock())
    failing = [item for item in found if item.failing]
    kept_out = held_out(con)
    return found, diagnosis.briefs(
        found,
        runtime.intents,
        _failures(runtime, con, failing, kept_out),
        _examples(runtime, con, kept_out),
        runtime.config.synthesis,
        diagnosis.learned(
            lessons(runtime, con), of_sample(runtime) if runtime.teacher is not None else 0.0
        ),
    )


def intent_health(
    runtime: Runtime, con: Connection, now: datetime, scope: health.HealthScope = health.EVERYTHING
) -> tuple[IntentHealth, ...]:
    """Health of every intent over the configured window, the worst first.

    Within a scope, the champion's own evaluation on dev says nothing and is left out.
    """
    table = runtime.config.intents
    since = _window_start(runtime, con, now)
    middle = since + timedelta(days=table.window_days) / 2
    until = now + timedelta(days=1)  # clocks of producers run ahead a little
    champion = adapters.champion(con) if scope == health.EVERYTHING else None
    metrics = adapters.get(con, champion).metrics if champion else {}
    dev = {name: (n, errors) for name, (errors, n) in metrics.get("dev_intents", {}).items()}
    whole, earlier, recent = health.halves(con, since, middle, until, scope)
    return diagnosis.health(whole, runtime.intents, table, dev=dev, earlier=earlier, recent=recent)


def _window_start(runtime: Runtime, con: Connection, now: datetime) -> datetime:
    """The window ends with the newest label, so that an imported archive is judged as it was."""
    newest = min(now, health.newest_label(con) or now)
    return newest - timedelta(days=runtime.config.intents.window_days)


def _failures(
    runtime: Runtime, con: Connection, failing: Sequence[IntentHealth], kept_out: Sequence[str]
) -> dict[str, list[Failed]]:
    """What each intent failed on, newest first, as far as a teacher may see it."""
    since = _window_start(runtime, con, runtime.clock())
    most = runtime.config.synthesis.failed_texts * _LOOKED_AT
    trained = samples.training(con)
    slices = {f"{name}={value}" for one in trained for name, value in one.slices.items()}
    found = {item.intent: _wrong(runtime, con, item.intent, since, most) for item in failing}
    texts = sorted({each.text for answers in found.values() for each in answers})
    showable = set(away_from_judges(runtime, texts, kept_out))
    near = curation.near_duplicates(texts, [one.text for one in trained], _FAMILIAR)
    familiar = {texts[match.i] for match in near}
    return {
        intent: [
            Failed(
                text=each.text,
                predicted=each.predicted,
                truth=each.truth,
                predicted_arguments=each.predicted_arguments,
                truth_arguments=each.truth_arguments,
                slices=each.slices,
                far=each.text not in familiar,
                new_slice=_new_slice(each.slices, slices),
            )
            for each in answers
            if each.text in showable
        ]
        for intent, answers in found.items()
    }


def _wrong(
    runtime: Runtime, con: Connection, intent: str, since: datetime, most: int
) -> list[health.FailedAnswer]:
    """Wrong answers that concern an intent, those under its former names after the others."""
    names = lineage.current_names(runtime.intents)
    found: dict[str, health.FailedAnswer] = {}
    for name in (intent, *lineage.former_names(runtime.intents).get(intent, ())):
        for each in health.failures(con, name, since, most):
            predicted = names.get(each.predicted, each.predicted)
            truth = each.truth and names.get(each.truth, each.truth)
            if predicted != truth or each.predicted == each.truth:  # else it was right after all
                told = dataclasses.replace(each, predicted=predicted, truth=truth)
                found.setdefault(each.text, told)
    return list(found.values())[:most]


def _new_slice(slices: Mapping[str, str], trained: Collection[str]) -> str:
    """The first slice of a failed text that no training sample has, where any has slices."""
    names = {one.partition("=")[0] for one in trained}
    told = (f"{name}={value}" for name, value in sorted(slices.items()) if name in names)
    return next((one for one in told if one not in trained), "")


def lessons(runtime: Runtime, con: Connection) -> list[Lesson]:
    """What earlier turns bought for challengers that were served, and how those did."""
    lessons = []
    for turn in turns.list_turns(con, _LOOKED_BACK):
        bought = sum(turn.record.written.values())
        if not bought or not _served(con, turn):
            continue
        scope = health.HealthScope(adapter=turn.record.challenger)
        since = {item.intent: item for item in intent_health(runtime, con, runtime.clock(), scope)}
        for brief in turn.record.briefs:
            item = since.get(brief.rated)
            if item is not None and item.error_rate is not None and brief.rate:
                lessons.append(
                    Lesson(
                        failure=brief.failure,
                        samples=brief.ask,
                        usd=turn.cost_usd * brief.ask / bought,
                        rate_before=brief.rate,
                        rate_since=item.error_rate,
                        labels=item.feedback,
                    )
                )
    return lessons


def _served(con: Connection, turn: Turn) -> bool:
    """Whether what the turn trained came to answer in production."""
    if turn.decision is None or not turn.record.challenger:
        return False
    decision = decisions.get(con, turn.decision)
    return decision.verdict == "promote" and decision.status == "applied"


def away_from_judges(runtime: Runtime, texts: Sequence[str], kept_out: Sequence[str]) -> list[str]:
    """The texts that are not too near an evaluation row."""
    near = curation.near_duplicates(texts, kept_out, runtime.config.curation.leak)
    leaked = {match.i for match in near}
    return [text for index, text in enumerate(texts) if index not in leaked]


def held_out(con: Connection) -> list[str]:
    """Every text that must reach neither training nor a teacher."""
    return judged_by(con) + [row.text for row in samples.dev(con)]


def judged_by(con: Connection) -> list[str]:
    """Every text that judges a challenger."""
    golden = [row.sample.text for row in samples.golden(con)]
    return golden + [row.text for row in samples.fresh(con)]


def _examples(runtime: Runtime, con: Connection, kept_out: Sequence[str]) -> dict[str, list[str]]:
    """Some accepted samples of each intent, as far as a teacher may see them."""
    trained = lineage.under_names(samples.training(con), runtime.intents)
    accepted = [sample for sample in trained if sample.origin in ("seed", "person")]
    showable = set(away_from_judges(runtime, [sample.text for sample in accepted], kept_out))
    shown: dict[str, list[str]] = {}
    for sample in accepted:
        texts = shown.setdefault(sample.intent, [])
        if sample.text in showable and len(texts) < _EXAMPLES:
            texts.append(sample.text)
    return shown
