"""One door to the champion: what does not go through it serves nobody."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path

import pytest
from memoriser import Memoriser
from runtimes import (
    WORDS,
    produce_failures,
    runtime_in,
    sample,
    seed_runtime,
    turn_once,
)
from waiting_promotion import REVIEW

from flywheel import files
from flywheel import turn as turning
from flywheel.config import PromotionTable
from flywheel.errors import FlywheelError, Refused
from flywheel.records import GateResult
from flywheel.store import adapters, decisions
from flywheel.turn import Incoming, Runtime, add_samples, integrity
from tests.fakes import json_views as views

TWO = dataclasses.replace(REVIEW, approvals=2)
ADA, ADA_BY_TOKEN, BOB = "ada (uid 1000)", "ada (token ops)", "bob (uid 1001)"


@pytest.fixture
def reopen(story, tmp_path):
    """The story as a daemon finds it at its start."""
    shutil.copytree(story.folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    opened = []

    def start(promotion: PromotionTable = REVIEW) -> Runtime:
        for runtime in opened:
            runtime.store.close()
        opened[:] = [runtime_in(tmp_path, promotion=promotion)]
        turning.record_unknown(opened[0])
        with contextlib.suppress(turning.NotServed):
            turning.reconcile(opened[0])
        return opened[0]

    yield start
    for runtime in opened:
        runtime.store.close()


def ends(runtime: Runtime) -> tuple[str | None, str | None]:
    with runtime.store.read() as con:
        return adapters.champion(con), runtime.serving.serving()


def status(runtime: Runtime, name: str = "d-3") -> str:
    with runtime.store.read() as con:
        return str(decisions.get(con, name).status)


def acts(runtime: Runtime) -> list[tuple[str, str, str]]:
    with runtime.store.read() as con:
        return [(act["what"], act["by"], act["because"]) for act in decisions.acts(con)]


# Going back


def test_a_rollback_to_what_waits_was_rejected_or_is_unknown_is_refused(reopen, story):
    runtime = reopen(TWO)
    with pytest.raises(Refused, match="has never been champion"):
        turning.rollback(runtime, story.better, ADA, "I want it now")
    turning.reject(runtime, "d-3", BOB, "no")
    with pytest.raises(Refused, match="has never been champion"):
        turning.rollback(runtime, story.better, ADA, "I want it still")
    with pytest.raises(FlywheelError, match="there is no adapter a-9"):
        turning.rollback(runtime, "a-9", ADA, "anything")
    with pytest.raises(Refused, match="is the champion already"):
        turning.rollback(runtime, story.champion, ADA, "to itself")
    assert ends(runtime) == (story.champion, story.champion)


def test_one_person_goes_back_and_two_are_asked_for_the_way_forward(reopen, story):
    runtime = reopen(TWO)
    turning.rollback(runtime, None, ADA, "complaints")
    assert ends(runtime) == (story.first, story.first)
    with pytest.raises(Refused, match=rf"ada \(uid 1000\) rolled {story.champion} back in d-4"):
        turning.rollback(runtime, story.champion, BOB, "it was fine")
    assert ends(runtime) == (story.first, story.first)


@pytest.mark.slow
def test_where_one_person_decides_a_later_word_undoes_a_rollback(reopen, story):
    runtime = reopen()
    turning.rollback(runtime, None, ADA, "complaints")
    turning.rollback(runtime, story.champion, BOB, "they were about something else")
    assert ends(runtime) == (story.champion, story.champion)


# Two people


def test_one_person_by_socket_and_token_is_one_and_nobody_in_particular_is_none(reopen, story):
    runtime = reopen(TWO)
    turning.approve(runtime, "d-3", ADA, "fine")
    for again in (ADA, ADA_BY_TOKEN, "ada (uid 0)", "root (uid 0)", "token", "unknown (uid 4242)"):
        with pytest.raises(Refused, match="nothing was changed, and your reason was not recorded"):
            turning.approve(runtime, "d-3", again, "fine again")
    assert ends(runtime) == (story.champion, story.champion)
    assert len(views.decision_view(runtime, "d-3")["events"]) == 2
    turning.approve(runtime, "d-3", BOB, "fine too")
    assert ends(runtime) == (story.better, story.better)


@pytest.mark.slow
def test_nobody_in_particular_may_come_first_and_two_people_are_still_asked_for(reopen, story):
    runtime = reopen(TWO)
    turning.approve(runtime, "d-3", "token", "by a script")
    turning.approve(runtime, "d-3", ADA, "fine")
    assert ends(runtime) == (story.champion, story.champion)
    turning.approve(runtime, "d-3", BOB, "fine too")
    whats = [event["what"] for event in views.decision_view(runtime, "d-3")["events"]]
    assert whats == ["promote", "approved 1 of 2", "approved 1 of 2", "applied"]


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(REVIEW, TWO), (TWO, REVIEW)])
def test_the_number_of_today_is_asked_for_whatever_it_was_at_the_first_approval(
    reopen, story, before, after
):
    runtime = reopen(TWO)
    turning.approve(runtime, "d-3", ADA, "fine")
    runtime.config = dataclasses.replace(runtime.config, promotion=before)
    runtime.config = dataclasses.replace(runtime.config, promotion=after)
    if after is TWO:
        with pytest.raises(Refused, match=r"ada has approved d-3 already \(1 of 2\)"):
            turning.approve(runtime, "d-3", ADA_BY_TOKEN, "fine again")
    else:
        turning.approve(runtime, "d-3", ADA, "one is enough today")
    assert (ends(runtime)[0] == story.better) == (after is REVIEW)


@pytest.mark.slow
def test_an_approval_before_a_rejection_is_over(reopen, story):
    runtime = reopen(TWO)
    turning.approve(runtime, "d-3", ADA, "fine")
    turning.reject(runtime, "d-3", "eve (uid 1002)", "it is not")
    with pytest.raises(Refused, match="d-3 is rejected already, by eve"):
        turning.approve(runtime, "d-3", BOB, "fine too")
    turn_once(runtime)  # comes to the very same adapter
    turning.approve(runtime, "d-4", BOB, "fine still")
    assert ends(runtime) == (story.champion, story.champion)
    turning.approve(runtime, "d-4", ADA, "fine still")
    assert ends(runtime) == (story.better, story.better)


@pytest.mark.slow
def test_an_approval_does_not_pass_to_what_the_turn_is_judged_as_later(tmp_path):
    runtime = runtime_in(tmp_path, promotion=dataclasses.replace(TWO, allow_override=("intents",)))
    seed_runtime(runtime, golden=4)
    turn_once(runtime)
    produce_failures(runtime)
    held = turn_once(runtime)
    turning.approve(runtime, "d-2", ADA, "fine", ["intents"])
    intent = next(iter(views.turn_view(runtime, held)["labels_wanted"]))
    add_samples(runtime, [sample(f"{WORDS[intent][0]} asked", intent, "golden")], by=ADA)
    turning.run_until_idle(runtime)
    assert status(runtime, "d-2") == "expired"
    again = turning.approve(runtime, "d-3", BOB, "fine", ["intents"])
    assert again.status == "pending"
    assert views.decision_view(runtime, "d-3")["events"][-1]["what"].startswith("approved 1 of 2")
    runtime.store.close()


# What is on record of the adapter


def forged(runtime: Runtime, name: str, **changes: object) -> None:
    """Another decision about the adapter of d-3, as a later turn would leave it."""
    with runtime.store.write() as con:
        judged = decisions.get(con, "d-3")
        decisions.add(con, dataclasses.replace(judged, id=name, **changes))


def test_an_adapter_that_was_rejected_elsewhere_is_not_approved(reopen, story):
    runtime = reopen()
    with runtime.store.write() as con:
        adapters.set_state(con, story.better, "rejected")
    with pytest.raises(Refused, match=f"{story.better} is rejected since d-3 was made"):
        turning.approve(runtime, "d-3", ADA, "fine")
    assert {"do": "approve"} not in [
        {"do": offer["do"]} for offer in views.decision_view(runtime, "d-3")["offers"]
    ]
    assert (status(runtime), ends(runtime)[0]) == ("pending", story.champion)


@pytest.mark.slow
def test_a_leak_that_a_later_turn_found_stops_an_earlier_decision(reopen, story):
    runtime = reopen()
    leak = (GateResult(gate="hygiene", verdict="FAIL"),)
    forged(runtime, "d-4", gates=leak, verdict="reject", status="rejected")
    with pytest.raises(Refused, match="hygiene failed in d-4"):
        turning.approve(runtime, "d-3", ADA, "fine")


def test_a_decision_in_which_nobody_checked_for_leaks_is_approved_by_nobody(reopen, story):
    runtime = reopen()
    forged(runtime, "d-4", gates=(), verdict="hold")
    with pytest.raises(Refused, match="hygiene had no word"):
        turning.approve(runtime, "d-4", ADA, "fine")


# Files


def changed(folder: Path) -> None:
    with (folder / "flywheel.json").open("a") as file:
        file.write(" ")


def added(folder: Path) -> None:
    (folder / "more.bin").write_bytes(b"\0")


def hidden(folder: Path) -> None:
    (folder / ".deep").mkdir()
    (folder / ".deep" / "more.bin").write_bytes(b"\0")


def missing(folder: Path) -> None:
    (folder / "flywheel.json").unlink()


def linked(folder: Path) -> None:
    """The same bytes, but somebody else's to change."""
    (folder / "flywheel.json").rename(folder.parent / "elsewhere.json")
    (folder / "flywheel.json").symlink_to(folder.parent / "elsewhere.json")


def linked_folder(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to("elsewhere")


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def exchanged(folder: Path) -> None:
    """Another adapter that serves well, under this one's name."""
    other = next(path for path in folder.parent.glob("a-*") if path.name != folder.name)
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


ATTACKS = {
    changed: "flywheel.json changed",
    added: "more.bin was added",
    hidden: ".deep/more.bin was added",
    missing: "flywheel.json is missing",
    linked: "flywheel.json is a link",
    linked_folder: "is a link in",
    gone: "has no folder",
    exchanged: "flywheel.json changed",
}
attacked = pytest.mark.parametrize(
    "attack",
    [  # every kind of change is named by `files.differences`, whose tests are quick
        pytest.param(each, id=each.__name__, marks=() if each is changed else pytest.mark.slow)
        for each in ATTACKS
    ],
)


@attacked
def test_an_adapter_whose_files_changed_after_it_was_judged_is_not_approved(reopen, story, attack):
    runtime = reopen(TWO)
    attack(runtime.adapters_dir / story.better)
    with pytest.raises(Refused, match=ATTACKS[attack]):
        turning.approve(runtime, "d-3", ADA, "fine")
    assert (status(runtime), ends(runtime)) == ("pending", (story.champion, story.champion))
    assert len(views.decision_view(runtime, "d-3")["events"]) == 1


@pytest.mark.slow
@attacked
def test_files_that_change_between_two_approvals_are_found_at_the_second(reopen, story, attack):
    runtime = reopen(TWO)
    turning.approve(runtime, "d-3", ADA, "fine")
    attack(runtime.adapters_dir / story.better)
    with pytest.raises(Refused, match=ATTACKS[attack]):
        turning.approve(runtime, "d-3", BOB, "fine")
    assert (status(runtime), ends(runtime)) == ("pending", (story.champion, story.champion))


@pytest.mark.slow
@attacked
def test_a_former_champion_with_other_files_is_not_gone_back_to(reopen, story, attack):
    runtime = reopen()
    attack(runtime.adapters_dir / story.first)
    with pytest.raises(Refused, match=ATTACKS[attack]):
        turning.rollback(runtime, None, ADA, "complaints")
    assert ends(runtime) == (story.champion, story.champion)


@attacked
def test_going_back_from_a_champion_with_other_files_is_always_possible(reopen, story, attack):
    runtime = reopen(TWO)
    attack(runtime.adapters_dir / story.champion)
    turning.rollback(runtime, None, ADA, "it is not what we approved")
    assert (ends(runtime), runtime.unserved) == ((story.first, story.first), "")


def test_the_gates_do_not_promote_what_was_changed_after_they_judged_it(reopen, story):
    runtime = reopen(PromotionTable(mode="auto", bootstrap="auto"))
    opened = turning.request(runtime, "manual").id
    while views.turn_view(runtime, opened)["state"] != "apply":
        turning.advance(runtime, opened)
    changed(runtime.adapters_dir / story.better)
    turning.run_until_idle(runtime)
    view = views.turn_view(runtime, opened)
    assert view["state"] == "failed"
    assert f"the files of {story.better} are not those that were trained" in view["error"]
    assert ends(runtime) == (story.champion, story.champion)


@pytest.mark.parametrize("whose", ["challenger", "champion"])
def test_a_model_that_was_changed_before_it_was_evaluated_is_not_judged(reopen, story, whose):
    runtime = reopen()
    opened = turning.request(runtime, "manual").id
    while views.turn_view(runtime, opened)["state"] != "evaluate":
        turning.advance(runtime, opened)
    name = story.better if whose == "challenger" else story.champion
    changed(runtime.adapters_dir / name)
    turning.run_until_idle(runtime)
    view = views.turn_view(runtime, opened)
    assert (view["state"], view["decision"]) == ("failed", None)
    assert (
        f"the files of {name} are not those that were trained: flywheel.json changed"
        in (view["error"])
    )


@pytest.mark.slow
@pytest.mark.parametrize("whose", ["challenger", "champion"])
def test_a_model_that_is_changed_while_it_is_evaluated_is_not_judged(reopen, story, whose):
    runtime = reopen()
    name = story.better if whose == "challenger" else story.champion

    class Meddler(Memoriser):
        def _predict(self, folder, spec):
            values = super()._predict(folder, spec)
            changed(runtime.adapters_dir / name)
            return values

    runtime.executor = Meddler(runtime.config.state_dir / "jobs")
    view = views.turn_view(runtime, turn_once(runtime))
    assert view["state"] == "failed"
    assert f"the files of {name} are not those that were trained" in view["error"]


@pytest.mark.slow
def test_a_champion_that_answers_as_another_is_not_compared_with(reopen, story):
    runtime = reopen()

    class Swapped(Memoriser):
        def _predict(self, folder, spec):
            values = super()._predict(folder, spec)
            values["hashes"][story.champion] = "a-evil"
            return values

    runtime.executor = Swapped(runtime.config.state_dir / "jobs")
    view = views.turn_view(runtime, turn_once(runtime))
    assert view["state"] == "failed"
    assert f"{story.champion} answered as a-evil" in view["error"]


# What is served


@attacked
def test_a_champion_whose_files_changed_stays_linked_and_is_a_problem_until_it_is_mended(
    reopen, story, attack, tmp_path
):
    kept = tmp_path / "kept"
    runtime = reopen()
    folder = runtime.adapters_dir / story.champion
    shutil.copytree(folder, kept)
    attack(folder)
    for _ in range(2):  # also at the next start
        with pytest.raises(turning.NotServed, match=ATTACKS[attack]):
            turning.reconcile(runtime)
        assert story.champion in runtime.unserved
        assert runtime.serving.serving() == story.champion
        assert any(story.champion in each for each in checked(runtime))
        runtime = reopen()
    folder.unlink() if folder.is_symlink() else shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(kept, folder)
    turning.reconcile(runtime)
    assert (runtime.unserved, checked(runtime)) == ("", [])


def checked(runtime: Runtime) -> list[str]:
    return list(integrity.check(runtime.store, runtime.config.state_dir)["problems"])


@pytest.mark.slow
def test_a_champion_whose_files_changed_is_not_linked_anew(reopen, story):
    runtime = reopen()
    runtime.serving.promote(story.first)
    changed(runtime.adapters_dir / story.champion)
    with pytest.raises(turning.NotServed):
        turning.reconcile(runtime)
    assert runtime.serving.serving() == story.first


@pytest.mark.slow
def test_what_changed_in_any_adapter_is_named_by_the_check(reopen, story):
    runtime = reopen()
    assert checked(runtime) == []
    changed(runtime.adapters_dir / story.first)
    added(runtime.adapters_dir / story.better)
    assert checked(runtime) == [
        f"the files of {story.better} are not those that were trained: more.bin was added",
        f"the files of {story.first} are not those that were trained: flywheel.json changed",
    ]


def test_a_folder_that_goes_after_the_commit_is_a_problem_and_served_when_it_is_back(
    reopen, story, monkeypatch
):
    runtime = reopen()
    folder = runtime.adapters_dir / story.better
    honest = runtime.serving.promote

    def late(adapter_id):
        if folder.exists():
            folder.rename(folder.with_name("aside"))
        honest(adapter_id)

    monkeypatch.setattr(runtime.serving, "promote", late)
    with pytest.raises(turning.NotServed, match="your word is recorded, but the link"):
        turning.approve(runtime, "d-3", ADA, "fine")
    assert (status(runtime), ends(runtime)) == ("applied", (story.better, story.champion))
    assert f"{story.better} has no folder" in runtime.unserved
    monkeypatch.undo()
    with pytest.raises(turning.NotServed):
        turning.reconcile(runtime)
    folder.with_name("aside").rename(folder)
    turning.reconcile(runtime)
    assert (runtime.unserved, ends(runtime)) == ("", (story.better, story.better))


def test_a_registry_that_was_changed_to_suit_the_files_is_found_by_the_chain(reopen, story):
    runtime = reopen()
    for name in (story.first, story.champion, story.better):
        folder = runtime.adapters_dir / name
        changed(folder)
        with runtime.store.write() as con:
            adapters.set_files(con, name, files.hashes(folder))
    for act, by in (
        (lambda: turning.approve(runtime, "d-3", ADA, "fine"), "d-3"),
        (lambda: turning.rollback(runtime, None, ADA, "complaints"), "d-1"),
        (lambda: turning.reconcile(runtime), "d-2"),
    ):
        with pytest.raises(FlywheelError, match=f"are not those that {by} judged"):
            act()
    assert [each.rpartition(" ")[0].rpartition(" ")[2] for each in checked(runtime)] == [
        "d-3",
        "d-2",
        "d-1",
    ]


# Files of an earlier version


def forgotten(runtime: Runtime) -> None:
    with runtime.store.write() as con:
        con.execute("UPDATE adapters SET files = '{}'")


def test_files_of_an_earlier_version_are_recorded_once_with_an_event(reopen, story):
    runtime = reopen()
    forgotten(runtime)
    with pytest.raises(Refused, match=f"the files of {story.better} are not recorded yet"):
        turning.approve(runtime, "d-3", ADA, "fine")
    runtime = reopen()
    every = ", ".join(sorted((story.first, story.champion, story.better)))
    recorded = (
        "adapter.files.recorded",
        "start",
        f"of an earlier version, as they are now: {every}",
    )
    assert acts(runtime)[0] == recorded
    changed(runtime.adapters_dir / story.better)
    runtime = reopen()
    assert acts(runtime).count(recorded) == 1
    with pytest.raises(Refused, match="those that were trained: flywheel"):
        turning.approve(runtime, "d-3", ADA, "fine")


@pytest.mark.slow
def test_an_odd_folder_of_an_earlier_version_stops_no_start_and_serves_nobody(reopen, story):
    runtime = reopen()
    forgotten(runtime)
    (runtime.adapters_dir / story.better / "more").symlink_to("flywheel.json")
    runtime = reopen()
    assert ends(runtime) == (story.champion, story.champion)
    with pytest.raises(Refused, match="are not recorded yet"):
        turning.approve(runtime, "d-3", ADA, "fine")


# The same adapter trained again


@pytest.mark.slow
def test_an_adapter_that_is_trained_again_beside_a_changed_folder_is_not_taken(reopen, story):
    runtime = reopen()
    changed(runtime.adapters_dir / story.better)
    view = views.turn_view(runtime, turn_once(runtime))
    assert view["state"] == "failed"
    assert "flywheel.json changed" in view["error"]


@pytest.mark.slow
def test_an_adapter_whose_folder_was_gone_is_registered_as_it_was_trained_again(reopen, story):
    runtime = reopen()
    gone(runtime.adapters_dir / story.better)
    again = turn_once(runtime)
    turning.approve(runtime, "d-4", ADA, "fine")
    assert views.turn_view(runtime, again)["challenger"] == story.better
    assert ends(runtime) == (story.better, story.better)


# Who did what


def test_what_judges_has_an_author_in_the_chain(tmp_path):
    runtime = runtime_in(tmp_path)
    golden = sample("wake me up", "set_alarm", "golden")
    answered = Incoming(sample=golden.sample, answer=("set_alarm", None))
    add_samples(runtime, [sample("wake seed", "set_alarm", "train")], by=ADA)
    assert acts(runtime) == []
    add_samples(runtime, [answered], by=ADA)
    add_samples(runtime, [sample("oven on", "set_timer", "golden")], by="source log")
    add_samples(runtime, [sample("oven on", "set_timer", "golden")], by=BOB)  # known already
    add_samples(runtime, [sample("egg", "set_timer", "fresh")], by="token")
    add_samples(runtime, [golden], by=BOB, new_generation=True)
    assert acts(runtime)[::-1] == [
        (
            "golden.generation.opened",
            ADA,
            "generation 1: 1 rows added, 0 of them after its first query",
        ),
        (
            "champion.adopted",
            ADA,
            "production is the first champion, by the answers that were imported",
        ),
        (
            "golden.imported",
            "source log",
            "generation 1: 1 rows added, 0 of them after its first query",
        ),
        (
            "samples.imported",
            "token",
            "1 fresh samples were given; with those to learn 1 are new; how they were drawn is "
            "said of 0 of the 1 fresh",
        ),
        (
            "golden.generation.opened",
            BOB,
            "generation 2: 1 rows added, 0 of them after its first query",
        ),
    ]
    with runtime.store.read() as con:
        assert decisions.check_chain(con).problems == ()
    runtime.store.close()
