"""How far raters are believed, and how much one of them may move."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flywheel.curation import NoiseScore, believe, capped, weighed
from flywheel.records import Sample


def said(number, rater, intent="play", kind="user"):
    return Sample(
        id=f"{rater}-{intent}-{number}",
        text=f"放首歌 {number} {rater}",
        intent=intent,
        origin="feedback",
        split="train",
        provenance={"rater": rater, "rater_kind": kind},
    )


def fits(odds):
    return NoiseScore(p_label=0.5, top="stop" if odds > 1 else "play", p_top=0.6, odds=odds)


GOOD = [said(n, f"u-{n % 9}") for n in range(180)]
BAD = [said(n, "u-bad") for n in range(40)]
SCORES = {s.id: fits(1.0) for s in GOOD} | {
    s.id: fits(4.0 if s.id[-1] in "02468" else 90.0) for s in BAD
}


def test_labels_of_a_rater_who_is_often_wrong_weigh_less_and_those_of_others_do_not():
    believed = believe([*GOOD, *BAD], SCORES)
    weights = {s.id: s.weight for s in weighed([*GOOD, *BAD], believed)}
    assert all(weights[s.id] == 1 for s in GOOD)
    assert all(weights[s.id] < 0.5 for s in BAD)


def test_a_label_is_as_good_as_the_best_who_gave_it():
    shared = [
        Sample(
            id="one",
            text="放首歌 1 u-bad",
            intent="play",
            origin="feedback",
            split="train",
            provenance={"rater": rater, "rater_kind": "user"},
        )
        for rater in ("u-bad", "u-1")
    ]
    believed = believe([*GOOD, *BAD[2:], *shared], SCORES)
    assert weighed(shared[:1], believed)[0].weight == 1


def test_what_no_rater_gave_keeps_its_weight():
    seed = Sample(id="s", text="放首歌", intent="play", origin="seed", split="train")
    assert weighed([seed], believe([seed, *BAD], SCORES)) == (seed,)


@given(st.integers(1, 60), st.integers(0, 60), st.floats(0.3, 0.9))
def test_one_rater_gives_at_most_the_share_of_an_intents_feedback(own, others, cap):
    samples = [said(n, "u-busy") for n in range(own)]
    samples += [said(n, f"u-{n % 7}") for n in range(others)]
    named = [said(0, f"u-{n}", "stop") for n in range(7)]  # there are raters enough
    believed = believe([*samples, *named], {})
    result = capped(samples, believed, {}, cap)
    mine = sum(s.provenance["rater"] == "u-busy" for s in result.kept)
    assert mine <= max(5, cap * len(result.kept) + 1e-9)
    assert {refusal.reason for refusal in result.refused} <= {"rater_cap"}
    assert len(result.kept) + len(result.refused) == len(samples)


def test_what_the_model_doubts_most_goes_first():
    samples = [said(n, "u-busy") for n in range(9)]
    believed = believe([*samples, *(said(0, f"u-{n}", "stop") for n in range(5))], {})
    scores = {s.id: fits(1.0 + n) for n, s in enumerate(samples)}
    result = capped(samples, believed, scores, 0.3)
    assert [s.id for s in result.kept] == [s.id for s in samples[:5]]
    assert result.refused[0].detail == "u-busy gave 9 of 9 labels of play"


def test_experts_unknown_raters_and_small_teams_are_not_capped():
    crowd = [said(0, f"u-{n}", "stop") for n in range(6)]
    expert = [said(n, "e-1", kind="expert") for n in range(20)]
    unknown = [said(n, "") for n in range(20)]
    for samples in (expert, unknown):
        assert capped(samples, believe([*samples, *crowd], {}), {}, 0.3).refused == ()
    lonely = [said(n, "u-1") for n in range(20)]
    assert capped(lonely, believe(lonely, {}), {}, 0.3).refused == ()
    assert capped(lonely, believe([*lonely, *crowd], {}), {}, 1.0).refused == ()
