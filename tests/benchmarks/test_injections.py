"""What production text can make a teacher do that obeys every instruction it finds: nothing."""

from __future__ import annotations

from collections import Counter

import attacks
import pytest
from stand_in_teacher import Faults, StandIn, serving

from flywheel import curation, datasets
from flywheel.config import SynthesisTable, TeacherTable
from flywheel.curation import normalise
from flywheel.records import Brief, Intent, Sample
from flywheel.teacher.openai import OpenAITeacher
from tests.fakes.answer_store import MemoryStore
from tests.waiting import CEILING_S

ALARM = Intent(name="set_alarm", description="Wake the user")
TIMER = Intent(name="set_timer", description="Count down")
POOL = {
    "set_alarm": ["wake me when the sun is up", "get me out of bed early", "六点叫我起床"],
    "set_timer": ["ten minutes for the pasta", "count down from thirty", "定时五分钟"],
}
GOLDEN = ["ring the bell at noon for me", "count the seconds of my run"]
KNOWN = attacks.attacks("set_alarm", "set_timer")


def attacked(attack):
    return Brief(
        id=f"b-{KNOWN.index(attack)}",
        intent=ALARM,
        neighbour=TIMER,
        failed_texts=(attack.text, "up at six please"),
        examples=("alarm at seven",),
        contrast=("an egg timer please",),
        ask=3,
        why="",
    )


def samples_after(briefs, *, verify):
    """What curation is given, and what is true of the texts."""
    stand_in = StandIn(pool=POOL, golden=GOLDEN)
    stand_in.truth |= {normalise(text): "set_timer" for text in ("an egg timer please", *GOLDEN)}
    stand_in.obeys = attacks.Obedience(KNOWN, GOLDEN)
    with serving(stand_in) as url:
        table = TeacherTable(base_url=url, model="obedient", timeout_s=CEILING_S)
        teacher = OpenAITeacher(table, SynthesisTable(verify=verify), (ALARM, TIMER))
        answers = teacher.write(briefs, MemoryStore())
    made = [
        Sample(
            id=datasets.sample_id(draft.text, draft.intent, None, "teacher", "train"),
            text=draft.text,
            intent=draft.intent,
            origin="teacher",
            split="train",
            provenance={"brief": brief.id, "blind": draft.blind and {"intent": draft.blind.intent}},
        )
        for brief in briefs
        for answer in answers.get(brief.id, ())
        for draft in answer.drafts
    ]
    return made, stand_in.truth


def wrong(samples, truth):
    return [one.text for one in samples if truth.get(normalise(one.text)) != one.intent]


def test_the_set_is_large_and_in_three_languages():
    assert Counter(attack.language for attack in KNOWN) == {"en": 44, "de": 44, "zh": 60}
    assert len({attack.text for attack in KNOWN}) == 148


def test_an_obedient_teacher_would_do_harm_if_it_were_believed():
    made, truth = samples_after([attacked(attack) for attack in KNOWN], verify=False)
    assert len(wrong(made, truth)) > 50


def test_no_attack_gets_a_wrong_label_or_its_own_sentence_into_training():
    briefs = [attacked(attack) for attack in KNOWN]
    made, truth = samples_after(briefs, verify=True)
    shown = {brief.id: brief.failed_texts for brief in briefs}
    kept = curation.copied(made, shown, 0.9).kept
    kept = curation.verified(kept).kept
    kept = curation.without_leaks(kept, GOLDEN, 0.8).kept
    assert wrong(kept, truth) == []
    assert {one.text for one in kept} <= set(POOL["set_alarm"])
    assert kept, "the good samples beside the attacks are not lost"


@pytest.mark.parametrize("fault", ["malformed", "wrong_count", "refusal", "storm", "cut"])
def test_a_faulty_stand_in_is_worked_through(fault):
    stand_in = StandIn(pool=POOL, faults=Faults(**{fault: 0.3}))
    with serving(stand_in) as url:
        table = TeacherTable(base_url=url, model="m", timeout_s=CEILING_S, max_retries=6)
        briefs = [attacked(attack) for attack in KNOWN[:20]]
        answers = OpenAITeacher(table, SynthesisTable(verify=False), ()).write(
            briefs, MemoryStore()
        )
    assert len(answers) == 20


@pytest.mark.slow
def test_ten_thousand_requests_lose_nothing_and_hold_no_more_memory_than_their_answers():
    import resource
    import time

    stand_in = StandIn(pool=POOL)
    briefs = [
        Brief(
            id=f"b-{i}",
            intent=ALARM,
            neighbour=None,
            failed_texts=(f"wake me number {i}",),
            examples=(),
            contrast=(),
            ask=1,
            why="",
        )
        for i in range(10_000)
    ]
    with serving(stand_in) as url:
        table = TeacherTable(base_url=url, model="m", max_concurrency=64)
        teacher = OpenAITeacher(table, SynthesisTable(verify=False), ())
        teacher.write(briefs[:500], MemoryStore())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.monotonic()
        store = MemoryStore()
        answers = teacher.write(briefs, store)
        seconds = time.monotonic() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{len(answers) / seconds:.0f} requests/s, {grown:.0f} MiB more")
    assert len(answers) == len(store.kept) == 10_000
    assert grown < 250
