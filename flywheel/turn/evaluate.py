"""Step 5: predict the same rows with champion and challenger, fresh samples included.

Rows answered by an earlier round of the turn are not predicted again; after bought labels only
those are new. Besides golden, dev and fresh rows, the newest texts labelled by feedback are
predicted: a challenger that gains there and loses on golden learned from wrong feedback.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from flywheel import curation, datasets, lineage
from flywheel.content import same_arguments
from flywheel.errors import FlywheelError, Refused
from flywheel.metrics import fewest_rows
from flywheel.protocols import AskedServing
from flywheel.records import Adapter, EvaluatedAnswer, Outcome, Report, Sample
from flywheel.store import (
    Connection,
    adapters,
    health,
    label_candidates,
    labels,
    parity_checks,
    samples,
)
from flywheel.store.health import LabelledText
from flywheel.store.turns import Turn
from flywheel.turn import adapter_files, evaluated_answers, probes
from flywheel.turn.artifacts import learned_rows, run_job
from flywheel.turn.curate import from_feedback
from flywheel.turn.evidence import FEEDBACK_SPLIT, independent_rows, undisputed
from flywheel.turn.runtime import Runtime, StepResult

_ALL = 10**6
_FEEDBACK_ROWS = 200  # newest labelled production texts
_TIMED_ROWS = 123  # 120 count: up to two slow answers still pass
_SHORT, _MEDIUM = 4, 12  # words
_SPLIT_NAMES = {"golden": "golden", "dev": "dev", "fresh": "fresh", FEEDBACK_SPLIT: "labelled"}


# The fresh set: verified production texts that no challenger was trained on or judged on before.
# They come from `samples import --split fresh` and from blind labels of the audit sample, which a
# lot drew; never from a volunteered correction, which is there because the champion was wrong. Each
# is used by one turn, recorded before its answer is read, and may be trained on afterwards.


def set_aside(runtime: Runtime, con: Connection) -> int:
    """Move labels that a lot drew to the fresh set; return the number of new samples.

    Where `[gates.fresh]` is required, until it is full. Otherwise those of intents with too few
    golden rows to be judged alone: each judges once before it is learned. Texts that the champion
    was trained on are left out; what is not moved stays available for training.
    """
    rule = runtime.config.gates.fresh
    room = rule.min_examples - len(samples.fresh(con)) if rule.required else _ALL
    if room <= 0 or (not rule.required and adapters.champion(con) is None):
        return 0
    lots = labels.drawn_by_lot(con)
    words = label_candidates.votes(con, runtime.config.raters.experts)  # nobody's hides an expert's
    by_prediction: dict[str, LabelledText] = {}
    for row in words:  # the latest word first
        if (row.prediction_id, row.rater, row.intent) in lots:
            by_prediction.setdefault(row.prediction_id, row)
    rare = None if rule.required else _rare(runtime, con)
    stored_ids = samples.fresh_ids(con)
    candidates = [
        msgspec.structs.replace(sample, provenance={**sample.provenance, "lot": "audit"})
        for sample in (from_feedback(row, "fresh") for row in by_prediction.values())
        if sample.id not in stored_ids and (rare is None or sample.intent in rare)
    ]
    unlearned = _unlearned(
        runtime, candidates, _trained_texts(runtime, adapters.champion(con), con)
    )
    return samples.add(con, unlearned[:room], generation=None, bought_for=None, at=runtime.clock())


def to_ask(runtime: Runtime, con: Connection, turn: Turn) -> list[Sample]:
    """Return the fresh samples of this turn: those it used already, otherwise the required number.

    Empty while there are too few, so that none is spent on a comparison that cannot be decided.
    Where none are required, all there are: they judge single intents.
    """
    rule = runtime.config.gates.fresh
    if turn.record.champion is None:
        return []
    if asked := samples.fresh(con, asked_by=turn.id):
        return asked
    challenger = [row["text"] for row in _dataset_rows(runtime, turn.record.dataset)]
    champion = _trained_texts(runtime, turn.record.champion, con)
    usable = _unlearned(runtime, samples.fresh(con), [*challenger, *champion])
    if not rule.required:
        return [sample for sample in usable if "lot" in sample.provenance]
    return usable[: rule.min_examples] if len(usable) >= rule.min_examples else []


def _rare(runtime: Runtime, con: Connection) -> frozenset[str]:
    """Intents, under every name, with too few golden rows to be judged alone."""
    rule = runtime.config.gates.intents
    rows = independent_rows(undisputed(runtime, con))
    former = lineage.former_names(runtime.intents)
    few = {
        intent.name
        for intent in runtime.intents
        if rows[intent.name] < fewest_rows(rule.margin_of(critical=intent.critical))
    }
    return frozenset(few | {name for one in few for name in former.get(one, ())})


def _unlearned(
    runtime: Runtime, candidates: Sequence[Sample], trained: Sequence[str]
) -> list[Sample]:
    """Candidates that are not near a training text."""
    jaccard = runtime.config.gates.hygiene.jaccard
    return list(curation.without_leaks(candidates, trained, jaccard).kept)


def _trained_texts(runtime: Runtime, adapter: str | None, con: Connection) -> list[str]:
    dataset = adapters.get(con, adapter).dataset if adapter else ""
    return [row["text"] for row in _dataset_rows(runtime, dataset)]


def _dataset_rows(runtime: Runtime, dataset: str) -> list[dict[str, str]]:
    return learned_rows(runtime.datasets_dir / f"{dataset}.parquet") if dataset else []


# The step.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    sample: Sample
    bought: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    intent: str
    arguments: Mapping[str, Any]
    confidence: float | None


def evaluate(runtime: Runtime, turn: Turn) -> StepResult:
    """Predict the new rows with both models and store every outcome."""
    challenger, champion = turn.record.challenger, turn.record.champion
    with runtime.store.write() as con:
        asked_fresh = to_ask(runtime, con, turn)
        names = [sample.id for sample in asked_fresh]
        samples.use_fresh(con, names, turn.id, challenger, runtime.clock())
    with runtime.store.read() as con:
        rows = _rows(runtime, con, asked_fresh, compared=champion is not None)
        earlier = adapters.load_report(con, turn.id)
        judged = [adapters.get(con, name) for name in (champion, challenger) if name]
        stored = {adapter.id: _stored(con, adapter.id) for adapter in judged}
        unproved = _unproved(runtime, con, rows, judged)
        probed = None if turn.record.changed else probes.prepared(runtime, con, turn)
    earlier_outcomes = {outcome.sample: outcome for outcome in earlier.outcomes} if earlier else {}
    new_rows = [row for row in rows if row.sample.id not in earlier_outcomes]
    to_run = [adapter.id for adapter in judged if adapter.state != "external"]
    _refuse_changed(runtime, judged)
    more = probed.texts if probed else ()
    answers, proofs, values = _predict(runtime, turn, new_rows, to_run, stored, more, unproved)
    _refuse_changed(runtime, judged, values.get("hashes", {}).get(champion))
    before = _current_names(runtime, answers[champion]) if champion else {}
    after = _current_names(runtime, answers[challenger])
    outcomes = [
        earlier_outcomes[row.sample.id] for row in rows if row.sample.id in earlier_outcomes
    ] + [_outcome(row, before, after) for row in new_rows]
    report = Report(champion=champion or "", challenger=challenger, outcomes=tuple(outcomes))

    def writes(con: Connection) -> None:
        adapters.save_report(con, turn.id, report)
        for name, evaluated in proofs.items():
            parity_checks.add_evaluated(con, name, evaluated)

    counts = Counter(_SPLIT_NAMES[outcome.split] for outcome in outcomes)
    by_split = ", ".join(f"{count} {name}" for name, count in counts.items())
    return StepResult(
        next_state="gate",
        detail=f"{len(new_rows)} rows asked; {by_split} in all",
        outputs=lambda record: replace(
            record,
            hashes={**record.hashes, **values.get("hashes", {})},
            latency_ms=record.latency_ms or _latency(values, challenger, champion),
            round=turn.record.round + 1,
            asked=_bought_this_turn(turn, new_rows) if turn.record.round else {},
            changed=probes.told(probed, *_by_text(more, before, after))
            if probed
            else record.changed,
        ),
        writes=writes,
    )


def _refuse_changed(
    runtime: Runtime, judged: Sequence[Adapter], answered_as: str | None = None
) -> None:
    """Check that champion and challenger are what was trained.

    Args:
        runtime: the loop.
        judged: the challenger last; its content as evaluated is for the gate `hygiene`.
        answered_as: content id of the champion that the worker read; None: it read none.

    Raises:
        Refused: files of one of them were changed, or other files answered.
    """
    for adapter in judged:
        adapter_files.refuse_changed(runtime, adapter)
    if answered_as is not None and answered_as != judged[0].id:
        raise Refused(
            f"{judged[0].id} answered as {answered_as}: its files were changed meanwhile",
            hint=adapter_files.MENDED,
        )


def _rows(
    runtime: Runtime, con: Connection, fresh: Sequence[Sample], *, compared: bool
) -> list[_Row]:
    """Rows to predict, with current intent names and without samples of split intents."""
    golden = samples.golden(con)
    if not golden:
        raise FlywheelError(
            "there is no golden set to judge on",
            hint="import verified texts: `flywheel samples import FILE --split golden`",
        )
    labelled = health.labelled_texts(con, ())[-_FEEDBACK_ROWS:] if compared else []
    feedback_rows = {sample.id: sample for sample in map(from_feedback, labelled)}
    others = [*samples.dev(con), *fresh, *feedback_rows.values()]
    bought = {row.sample.id for row in golden if row.bought}
    rows = lineage.judging([*(row.sample for row in golden), *others], runtime.intents)
    return [_Row(sample=sample, bought=sample.id in bought) for sample in rows]


def _current_names(runtime: Runtime, answers: Mapping[str, _Answer]) -> dict[str, _Answer]:
    """Answers with current intent names: a model may know an intent by a former name."""
    names = lineage.current_names(runtime.intents)
    return {
        sample: replace(answer, intent=names.get(answer.intent, answer.intent))
        for sample, answer in answers.items()
    }


def _latency(
    values: Mapping[str, Any], challenger: str, champion: str | None
) -> dict[str, tuple[float, ...]]:
    """Latencies in milliseconds by role, where the worker measured them."""
    timed = values.get("latency_ms", {})
    roles = {"challenger": challenger, "champion": champion}
    return {role: tuple(timed[name]) for role, name in roles.items() if timed.get(name)}


def _bought_this_turn(turn: Turn, rows: Sequence[_Row]) -> dict[str, int]:
    """Number of bought labels by intent since this turn first evaluated its challenger."""
    counts = Counter(turn.record.asked)
    counts.update(row.sample.intent for row in rows if row.bought)
    return dict(counts)


def _stored(con: Connection, adapter: str) -> dict[str, _Answer]:
    """Stored answers by sample: of an external model, or on dev rows before they were learned."""
    return {
        sample: _Answer(intent=intent, arguments=arguments or {}, confidence=None)
        for sample, (intent, arguments) in samples.answers(con, adapter).items()
    }


def _predict(
    runtime: Runtime,
    turn: Turn,
    asked: Sequence[_Row],
    run: Sequence[str],
    stored: Mapping[str, Mapping[str, _Answer]],
    more: Sequence[str],
    unproved: frozenset[str],
) -> tuple[dict[str, dict[str, _Answer]], dict[str, list[EvaluatedAnswer]], Mapping[str, Any]]:
    """Answers by adapter and sample, those to prove a server by, and what the worker says.

    A row is run where an adapter has no stored answer for it, or its sample is `unproved`; in the
    report a stored answer always stands. Answers to the texts in `more` are under `_probe_id`.
    """
    answers = {name: dict(known) for name, known in stored.items()}
    rows = [
        row
        for row in asked
        if row.sample.id in unproved or any(row.sample.id not in stored[name] for name in run)
    ]
    if not rows and not more:
        return answers, {}, {}
    part = f"evaluate-{turn.record.round}"
    timed = runtime.config.gates.latency.required and not turn.record.latency_ms
    result = run_job(
        runtime,
        turn,
        part,
        "predict",
        {
            "adapters": {name: str(runtime.adapters_dir / name) for name in run},
            "timed": _TIMED_ROWS if timed else 0,
        },
        datasets.rows_table(
            [(row.sample.id, row.sample.text) for row in rows]
            + [(_probe_id(number), text) for number, text in enumerate(more)]
        ),
    )
    path = runtime.job_dir(result.id) / "predictions.parquet"
    said = {name: evaluated_answers.answers_in(path, name) for name in run}
    for name, given in said.items():
        for one in given:
            answer = _Answer(intent=one.intent, arguments=one.arguments, confidence=one.confidence)
            answers[name].setdefault(one.sample, answer)
    proving = {row.sample.id for row in rows if _proves(row)}
    proofs = {name: [one for one in given if one.sample in proving] for name, given in said.items()}
    return answers, proofs, result.values


def _proves(row: _Row) -> bool:
    """Whether a server is asked for the row's text: must-pass rows, and those of dev."""
    return row.sample.split == "dev" or (row.sample.split == "golden" and row.sample.must_pass)


def _unproved(
    runtime: Runtime, con: Connection, rows: Sequence[_Row], judged: Sequence[Adapter]
) -> frozenset[str]:
    """Samples whose answers are needed to prove a server, and are not stored; none without one.

    The stored answers of a report are not enough: on dev they may be those of the model before it
    was trained on dev.
    """
    if not isinstance(runtime.serving, AskedServing):
        return frozenset()
    known = [set(parity_checks.evaluated(con, one.id)) for one in judged if one.files]
    return frozenset(
        row.sample.id
        for row in rows
        if _proves(row) and any(row.sample.id not in answered for answered in known)
    )


def _probe_id(number: int) -> str:
    return f"probe-{number}"


def _by_text(texts: Sequence[str], *answers: Mapping[str, _Answer]) -> tuple[dict[str, str], ...]:
    """Intents by probed text, of each model that answered."""
    return tuple(
        {
            text: model[_probe_id(number)].intent
            for number, text in enumerate(texts)
            if _probe_id(number) in model
        }
        for model in answers
    )


def _outcome(
    row: _Row, champion: Mapping[str, _Answer], challenger: Mapping[str, _Answer]
) -> Outcome:
    sample = row.sample
    before, after = champion.get(sample.id), challenger.get(sample.id)
    return Outcome(
        sample=sample.id,
        split=sample.split,
        intent=sample.intent,
        champion_intent=before.intent if before else None,
        challenger_intent=after.intent if after else None,
        champion_correct=_correct(sample, before),
        challenger_correct=_correct(sample, after),
        champion_confidence=before.confidence if before else None,
        challenger_confidence=after.confidence if after else None,
        family=sample.family,
        must_pass=sample.must_pass,
        bought=row.bought,
        slices=slices_of(sample),
    )


def slices_of(sample: Sample) -> dict[str, str]:
    """Return the slices that a row is judged in: its own, and how long its text is."""
    return {"length": _length(sample.text), **sample.slices}


def _length(text: str) -> str:
    """The length slice of a text; in scripts without spaces two characters count as a word."""
    words = len(text.split())
    if words <= 1 and not text.isascii():
        words = len(text) // 2
    return "short" if words <= _SHORT else "medium" if words <= _MEDIUM else "long"


def _correct(sample: Sample, answer: _Answer | None) -> bool | None:
    """Intent right, and arguments right where the sample has them; None without an answer."""
    if answer is None:
        return None
    if answer.intent != sample.intent:
        return False
    return sample.arguments is None or same_arguments(answer.arguments, sample.arguments)
