"""Step 1: find the intents that fail in production, and write and price briefs for them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from flywheel import curation, diagnosis, lineage
from flywheel.diagnosis import ChampionLabels, Failed, Lesson
from flywheel.metrics import IntentPair, Tallies
from flywheel.records import Brief, IntentHealth
from flywheel.scripts import parts_of_words
from flywheel.store import (
    Connection,
    adapters,
    champion_answers,
    decisions,
    health,
    samples,
    turns,
)
from flywheel.store.turns import Turn
from flywheel.teacher import prompts, redaction
from flywheel.turn import answered_anew
from flywheel.turn.lot_labels import lot_labels
from flywheel.turn.runtime import Runtime, StepResult

_BYTES_PER_TOKEN = 3.0  # overestimates the tokens of English
_WRITTEN = 40  # tokens of one written sample
_PROMPT = 1200  # tokens of a typical request: the rules, ten failed texts, two intents
_LABEL = 30  # tokens out for a sample in the blind question
_SENTENCE = "wake me at seven tomorrow please"  # of typical length, for the blind question

_AHEAD = timedelta(days=1)  # clocks of producers run ahead a little
_NAMED = 5  # intents in the step's detail
_LOOKED_AT = 6  # failures read for one text shown
_FAMILIAR = (
    0.25  # Jaccard index of `parts_of_words`: wording with no training text so near is unseen
)
_LOOKED_BACK = 12  # turns whose purchases are used to estimate the value of samples
_EXAMPLES = 5  # accepted samples of an intent, and of its neighbour, shown in a brief


# Estimated cost by the configured prices, before the first purchase.


def of_brief(runtime: Runtime, brief: Brief) -> tuple[tuple[prompts.Request, ...], float]:
    """Return a brief's requests exactly as they would be sent, and their price in US dollars."""
    teacher, synthesis = runtime.config.teacher, runtime.config.synthesis
    people = redaction.finder(teacher.names_model) if teacher.redact else None
    requests = prompts.requests(brief, synthesis.per_request, redact=teacher.redact, names=people)
    return requests, _price(runtime, sum(map(_tokens, requests)), brief.ask)


def of_sample(runtime: Runtime) -> float:
    """Return the typical price of one sample in US dollars; 0 without configured prices."""
    return _price(runtime, _PROMPT / max(1, runtime.config.synthesis.per_request), 1)


def _price(runtime: Runtime, input_tokens: float, samples: int) -> float:
    """Price in US dollars of prompts, their samples, and the blind question on these samples."""
    teacher = runtime.config.teacher
    output_tokens = float(_WRITTEN)
    if runtime.config.synthesis.verify:
        texts = [_SENTENCE] * prompts.TOGETHER
        input_tokens += (
            samples * _tokens(prompts.question(texts, runtime.intents)) / prompts.TOGETHER
        )
        output_tokens += _LABEL
    input_cost = input_tokens * teacher.usd_per_million_input
    return (input_cost + output_tokens * samples * teacher.usd_per_million_output) / 1e6


def _tokens(request: prompts.Request) -> float:
    return (
        sum(len(str(message["content"]).encode()) for message in request.messages)
        / _BYTES_PER_TOKEN
    )


# The step.


def diagnose(runtime: Runtime, turn: Turn) -> StepResult:
    """Compute the health of every intent, and write briefs for failing and suspected ones.

    What is labelled is put to today's champion first: what a turn mended is not bought for again.
    """
    with runtime.store.read() as con:
        since = answered_anew.window_start(runtime, con, runtime.clock())
    asked = answered_anew.refresh(runtime, turn, since)
    with runtime.store.read() as con:
        intents, briefs = wanted(runtime, con)
        tallies = recent_tallies(runtime, con, runtime.clock())
    failing = [item.intent for item in intents if item.failing]
    suspects = [item.intent for item in intents if item.suspect]
    judged = sum(1 for item in intents if item.feedback)
    unknown = diagnosis.unknown_labels(tallies, runtime.intents)
    return StepResult(
        next_state="synthesize",
        detail=f"{len(failing)} of {len(intents)} intents fail"
        + _named(failing)
        + (f"; {len(suspects)} suspected{_named(suspects)}" if suspects else "")
        + f"; {judged} have feedback"
        + (f"; {asked}" if asked else "")
        + "".join(f"; {name}" for name in unknown),
        outputs=lambda record: dataclasses.replace(record, briefs=briefs),
    )


def _named(intents: Sequence[str]) -> str:
    """The first few of them, after a colon."""
    more = " …" if len(intents) > _NAMED else ""
    return f": {', '.join(intents[:_NAMED])}{more}" if intents else ""


def wanted(runtime: Runtime, con: Connection) -> tuple[tuple[IntentHealth, ...], tuple[Brief, ...]]:
    """Return the health of every intent, and the briefs that a turn would write now."""
    intents = intent_health(runtime, con, runtime.clock())
    failing = [item for item in intents if diagnosis.is_written_for(item)]
    kept_out = held_out(con)
    return intents, diagnosis.briefs(
        intents,
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
    """Return the health of every intent over the configured window, the worst first.

    Today's champion is judged (`champion_labels`); with another scope what production answered
    there, by whomever.
    """
    table = runtime.config.intents
    since = answered_anew.window_start(runtime, con, now)
    middle = since + timedelta(days=table.window_days) / 2
    until = now + _AHEAD
    whole, earlier, recent = health.halves(con, since, middle, until, scope)
    labels = ChampionLabels()
    if scope == health.EVERYTHING:
        volunteered, labels = champion_labels(runtime, con, whole, since, until)
        whole = dataclasses.replace(whole, pairs=volunteered)
    return diagnosis.health(
        whole, runtime.intents, table, labels=labels, earlier=earlier, recent=recent
    )


def champion_labels(
    runtime: Runtime, con: Connection, whole: Tallies, since: datetime, until: datetime
) -> tuple[tuple[IntentPair, ...], ChampionLabels]:
    """Return the volunteered labels of what today's champion answers, and its other labels.

    Args:
        runtime: the loop.
        con: a reading connection.
        whole: of the window, whoever answered.
        since, until: the window.
    """
    reign = adapters.champion_since(con)
    known = {adapter.id: adapter for adapter in adapters.list_adapters(con)}
    serving = adapters.champion(con)
    champion = answered_anew.asked_champion(con)
    asked = champion.id if champion else None
    lots = lot_labels(con, asked, frozenset(known), since, reign)
    metrics = known[serving].metrics if serving in known else {}
    dev = {name: (n, errors) for name, (errors, n) in metrics.get("dev_intents", {}).items()}
    if champion is None and not lots.any_given:  # sums by day say the same, and are quicker
        return whole.pairs, ChampionLabels(dev=dev)
    standing = champion_answers.standing_pairs(con, asked, since, reign)
    return _summed(standing), ChampionLabels(
        served=Tallies(
            volume=_served_volume(con, asked, set(known), (since, until), reign),
            pairs=_summed(row for row in standing if row.own),
        ),
        audit=lots.audit,
        asked=lots.asked,
        recorded=champion_answers.verdicts(con, since),
        dev=dev,
    )


def _served_volume(
    con: Connection,
    champion: str | None,
    registered: Collection[str],
    window: tuple[datetime, datetime],
    reign: datetime | None,
) -> Mapping[str, int]:
    """Predictions of each intent that count as the champion's own: those that name it, and those
    since its reign began that name no adapter of the registry."""
    since, until = window
    if champion is None or reign is None:
        return health.predictions(con, since, until)
    own = health.predictions(con, since, until, health.HealthScope(adapter=champion))
    nobodys = health.predictions(con, max(since, reign), until, others=registered)
    return Counter(own) + Counter(nobodys)


def _summed(rows: Iterable[champion_answers.StandingPair]) -> tuple[IntentPair, ...]:
    """The same pairs, each once, whoever gave the answers."""
    counts: Counter[tuple[str, str | None, bool]] = Counter()
    for row in rows:
        counts[row.pair.predicted, row.pair.truth, row.pair.correct] += row.pair.count
    return tuple(
        IntentPair(predicted=predicted, truth=truth, correct=correct, count=count)
        for (predicted, truth, correct), count in counts.items()
    )


def recent_tallies(runtime: Runtime, con: Connection, now: datetime) -> Tallies:
    """Return the predictions and labels of the configured window, whatever their names."""
    since = answered_anew.window_start(runtime, con, now)
    until = now + timedelta(days=1)
    whole, _, _ = health.halves(con, since, since, until)
    return whole


def _failures(
    runtime: Runtime, con: Connection, failing: Sequence[IntentHealth], kept_out: Sequence[str]
) -> dict[str, list[Failed]]:
    """Wrong answers by intent, newest first, without texts that a teacher must not see."""
    since = answered_anew.window_start(runtime, con, runtime.clock())
    limit = runtime.config.synthesis.failed_texts * _LOOKED_AT
    trained = samples.training(con)
    slices = {f"{name}={value}" for sample in trained for name, value in sample.slices.items()}
    wrong_answers = {
        item.intent: _wrong_answers(runtime, con, item.intent, since, limit) for item in failing
    }
    texts = sorted({answer.text for answers in wrong_answers.values() for answer in answers})
    showable = set(away_from_judges(runtime, texts, kept_out))
    learned = [sample.text for sample in trained]
    matches = curation.near_duplicates(texts, learned, _FAMILIAR, words=parts_of_words)
    familiar = {texts[match.i] for match in matches}
    return {
        intent: [
            Failed(
                text=answer.text,
                predicted=answer.predicted,
                truth=answer.truth,
                predicted_arguments=answer.predicted_arguments,
                truth_arguments=answer.truth_arguments,
                slices=answer.slices,
                far=answer.text not in familiar,
                new_slice=_new_slice(answer.slices, slices),
            )
            for answer in answers
            if answer.text in showable
        ]
        for intent, answers in wrong_answers.items()
    }


def _wrong_answers(
    runtime: Runtime, con: Connection, intent: str, since: datetime, limit: int
) -> list[health.FailedAnswer]:
    """Wrong answers of today's champion; those under an intent's former names come last."""
    names = lineage.current_names(runtime.intents)
    asked = answered_anew.asked_champion(con)
    champion, reign = asked.id if asked else None, adapters.champion_since(con)
    by_text: dict[str, health.FailedAnswer] = {}
    for name in (intent, *lineage.former_names(runtime.intents).get(intent, ())):
        for answer in champion_answers.failures(con, champion, name, since, limit, reign):
            predicted = names.get(answer.predicted, answer.predicted)
            truth = answer.truth and names.get(answer.truth, answer.truth)
            right = predicted == truth and answer.predicted != answer.truth  # by a renamed intent
            if not right:
                renamed = dataclasses.replace(answer, predicted=predicted, truth=truth)
                by_text.setdefault(answer.text, renamed)
    return list(by_text.values())[:limit]


def _new_slice(slices: Mapping[str, str], trained: Collection[str]) -> str:
    """The first slice ("name=value") that no training sample has; "" without one."""
    trained_names = {pair.partition("=")[0] for pair in trained}
    pairs = (f"{name}={slices[name]}" for name in sorted(slices) if name in trained_names)
    return next((pair for pair in pairs if pair not in trained), "")


def lessons(runtime: Runtime, con: Connection) -> list[Lesson]:
    """Return one lesson for each brief of an earlier turn whose challenger was served."""
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
    """Whether the turn's challenger was promoted."""
    if turn.decision is None or not turn.record.challenger:
        return False
    decision = decisions.get(con, turn.decision)
    return decision.verdict == "promote" and decision.status == "applied"


def away_from_judges(runtime: Runtime, texts: Sequence[str], kept_out: Sequence[str]) -> list[str]:
    """Return the texts that are not near an evaluation text."""
    matches = curation.near_duplicates(texts, kept_out, runtime.config.curation.leak)
    leaked = {match.i for match in matches}
    return [text for index, text in enumerate(texts) if index not in leaked]


def held_out(con: Connection) -> list[str]:
    """Return every text that must reach neither training nor a teacher: golden, fresh and dev."""
    return judged_by(con) + [row.text for row in samples.dev(con)]


def judged_by(con: Connection) -> list[str]:
    """Return every text that challengers are judged on: golden and fresh."""
    golden = [row.sample.text for row in samples.golden(con)]
    return golden + [row.text for row in samples.fresh(con)]


def _examples(runtime: Runtime, con: Connection, kept_out: Sequence[str]) -> dict[str, list[str]]:
    """A few trusted samples of each intent, without texts that a teacher must not see."""
    trained = lineage.under_names(samples.training(con), runtime.intents)
    accepted = [sample for sample in trained if sample.origin in ("seed", "person")]
    showable = set(away_from_judges(runtime, [sample.text for sample in accepted], kept_out))
    by_intent: dict[str, list[str]] = {}
    for sample in accepted:
        texts = by_intent.setdefault(sample.intent, [])
        if sample.text in showable and len(texts) < _EXAMPLES:
            texts.append(sample.text)
    return by_intent
