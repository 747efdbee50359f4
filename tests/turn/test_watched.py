"""A promotion is watched: harm is rolled back or proposed, and a person's word stands."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil

import pytest
from runtimes import NOW, runtime_in
from waiting_promotion import REVIEW

from flywheel import turn as turning
from flywheel.config import ServingTable, WatchTable
from flywheel.records import Feedback, Prediction
from flywheel.serving.arms_file import planned
from flywheel.store import adapters, decisions, events, watches
from flywheel.turn import arms, integrity
from tests.fakes import json_views as views

KEYS = 400


@pytest.fixture
def folder(story, tmp_path):
    shutil.copytree(story.folder, tmp_path / "folder", symlinks=True)
    return tmp_path / "folder"


@contextlib.contextmanager
def opened(folder, mode="rollback", **table):
    built = runtime_in(
        folder,
        promotion=REVIEW,
        watch=WatchTable(mode=mode, **table),
        serving=ServingTable(canary=0.2),
    )
    with contextlib.closing(built.store):
        yield built


def approve(runtime, name="d-3", by="ada (uid 7)"):
    return turning.approve(runtime, name, by, "looks right")


def champion(runtime):
    with runtime.store.read() as con:
        return adapters.champion(con)


def watch_of(runtime):
    with runtime.store.read() as con:
        return watches.latest(con)


def produce(runtime, *, corrected_new, corrected_earlier, keys=KEYS, forged=False):
    """One answer a key by its arm; the first so many keys of each arm are corrected."""
    plan = planned(runtime.config.state_dir)
    left = {True: corrected_new, False: corrected_earlier}
    predictions, feedback = [], []
    for n in range(keys):
        new = plan.gives_new(f"u-{n}") is not forged
        predictions.append(
            Prediction(
                id=f"w-{n}",
                ts=NOW,
                text=f"text {n}",
                intent="none",
                adapter=plan.champion if new else plan.earlier,
                rater=f"u-{n}",
                arm="champion" if new else "earlier",
            )
        )
        if left[new] > 0:
            left[new] -= 1
            feedback.append(
                Feedback(
                    id=f"fw-{n}",
                    prediction_id=f"w-{n}",
                    ts=NOW,
                    verdict="incorrect",
                    rater=f"u-{n}",
                )
            )
    with runtime.store.write() as con:
        events.add_predictions(con, predictions)
        events.add_feedback(con, feedback)


def status_of(runtime):
    return views.status(runtime, uptime_s=1.0, next_turn=None)


def test_a_promotion_opens_a_watch_and_the_server_is_told_both_arms(story, folder):
    with opened(folder) as runtime:
        watched = views.decision_view(runtime, "d-3")["watched"]
        assert watched.startswith("the watch may roll it back by itself, whoever approved")
        assert approve(runtime).status == "applied"
        plan = planned(runtime.config.state_dir)
        assert (plan.champion, plan.earlier, plan.share) == (story.better, story.champion, 0.2)
        watch = status_of(runtime)["watch"]
        assert (watch["mode"], watch["state"], watch["decision"]) == ("rollback", "watching", "d-3")
        assert turning.look(runtime) == ""


def test_harm_is_rolled_back_by_itself_though_a_person_approved(story, folder):
    with opened(folder) as runtime:
        approve(runtime)
        produce(runtime, corrected_new=60, corrected_earlier=20)
        with runtime.store.write() as con:
            decisions.untold_events(con, "bell")
        assert turning.look(runtime) == "rolled_back"
        assert champion(runtime) == story.champion
        assert runtime.serving.serving() == story.champion
        assert planned(runtime.config.state_dir) is None
        with runtime.store.write() as con:
            done = decisions.list_decisions(con)[0]
            told = [one["event"] for one in decisions.untold_events(con, "bell")]
            assert decisions.check_chain(con).problems == ()
            assert integrity.forged(con) == ""
        assert (done.verdict, done.status, done.by) == ("rollback", "applied", "watch")
        assert done.because.startswith(f"{story.better} does harm: {story.better} was corrected")
        assert (told.count("rolled_back"), told.count("harm")) == (1, 1)
        assert watch_of(runtime).outcome == "harm"
        assert turning.look(runtime) == ""


def test_in_report_mode_a_rollback_waits_for_a_person_who_approves_it(story, folder):
    with opened(folder, mode="report") as runtime:
        approve(runtime)
        produce(runtime, corrected_new=60, corrected_earlier=20)
        assert turning.look(runtime) == "proposed"
        assert turning.look(runtime) == "waits"
        assert champion(runtime) == story.better
        proposal = watch_of(runtime).proposal
        status = status_of(runtime)
        assert (status["watch"]["state"], status["watch"]["proposal"]) == ("harm", proposal)
        assert [each for each in status["problems"] if f"review show {proposal}" in each]
        page = views.decision_view(runtime, proposal)
        assert [offer["do"] for offer in page["offers"]] == ["approve", "reject"]
        assert approve(runtime, proposal).status == "applied"
        assert champion(runtime) == story.champion
        assert watch_of(runtime).outcome == "harm"


def test_who_rejects_the_proposal_keeps_the_champion_whatever_production_says_then(story, folder):
    with opened(folder, mode="report") as runtime:
        approve(runtime)
        produce(runtime, corrected_new=60, corrected_earlier=20)
        turning.look(runtime)
        turning.reject(runtime, watch_of(runtime).proposal, "eve (uid 8)", "they learn it")
        runtime.config = dataclasses.replace(runtime.config, watch=WatchTable(mode="rollback"))
        assert turning.look(runtime) == "ended"
        assert champion(runtime) == story.better
        assert (watch_of(runtime).outcome, turning.look(runtime)) == ("kept", "")
        assert planned(runtime.config.state_dir) is None


def test_a_persons_rollback_ends_the_watch_and_stands(story, folder):
    with opened(folder) as runtime:
        approve(runtime)
        produce(runtime, corrected_new=60, corrected_earlier=20)
        turning.rollback(runtime, story.first, "eve (uid 8)", "the old one")
        assert turning.look(runtime) == ""
        assert champion(runtime) == story.first
        assert watch_of(runtime).outcome == "replaced"


def test_a_champion_that_is_corrected_less_takes_over(story, folder):
    with opened(folder) as runtime:
        approve(runtime)
        produce(runtime, corrected_new=0, corrected_earlier=60)
        assert turning.look(runtime) == "ended"
        assert (watch_of(runtime).outcome, champion(runtime)) == ("no_harm", story.better)
        assert planned(runtime.config.state_dir) is None
        assert status_of(runtime)["watch"]["last"].startswith("no_harm: ")


def test_after_enough_answers_it_takes_over_and_nothing_is_called_proven(folder):
    with opened(folder, answers=KEYS) as runtime:
        approve(runtime)
        produce(runtime, corrected_new=2, corrected_earlier=8)
        assert turning.look(runtime) == "ended"
        assert watch_of(runtime).outcome == "unproven"


def test_answers_whose_arm_the_lot_did_not_give_are_no_bets(folder):
    with opened(folder) as runtime:
        approve(runtime)
        produce(runtime, corrected_new=90, corrected_earlier=0, forged=True)
        assert turning.look(runtime) == ""
        assert status_of(runtime)["watch"]["e_value"] == 1.0


def test_a_label_that_was_asked_for_is_no_correction(folder):
    with opened(folder) as runtime:
        approve(runtime)
        produce(runtime, corrected_new=60, corrected_earlier=20)
        with runtime.store.write() as con:
            con.execute(
                "INSERT INTO labels SELECT row_number() OVER (), 'uncertain:' || id, 'uncertain', "
                "id, intent, ts, text, 'label', 'play', NULL, rater, false, ts FROM predictions"
            )
        assert turning.look(runtime) == ""
        assert status_of(runtime)["watch"]["e_value"] == 1.0


def test_the_audit_sample_shows_harm_where_nobody_corrects(folder):
    with opened(folder) as runtime:
        approve(runtime)
        produce(runtime, corrected_new=60, corrected_earlier=20)
        with runtime.store.write() as con:
            con.execute(
                "INSERT INTO labels SELECT row_number() OVER (), 'audit:' || id, 'audit', "
                "id, intent, ts, text, 'label', 'play', NULL, rater, false, ts FROM predictions"
            )
        assert turning.look(runtime) == "rolled_back"


def test_other_intents_leave_no_second_arm(story, folder):
    with opened(folder) as runtime:
        facts = runtime.adapters_dir / story.better / "flywheel.json"
        said = json.loads(facts.read_text())
        assert arms._labels(runtime, story.better) == arms._labels(runtime, story.champion)
        facts.write_text(json.dumps({**said, "labels": ["only this"]}))
        with runtime.store.read() as con:
            why = arms._no_arm(runtime, con, story.better, story.champion)
        assert why == f"{story.champion} knows other intents"


def test_without_a_watch_a_promotion_serves_everything_at_once(story, folder):
    with opened(folder, mode="off") as runtime:
        approve(runtime)
        assert watch_of(runtime) is None
        assert planned(runtime.config.state_dir) is None
        assert runtime.serving.serving() == story.better
        assert status_of(runtime)["watch"]["state"] == "off"


def test_status_says_which_harm_would_be_seen_and_which_cannot(folder):
    with opened(folder) as runtime:
        watch = status_of(runtime)["watch"]
        assert watch["state"] == "idle"
        named = {one["intent"] for one in watch["sees"]}
        assert set(watch["unseen"]) == set(runtime.known_intents) - named
        assert watch["unseen"]
