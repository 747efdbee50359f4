"""Attacks on the one door: what must hold before an adapter serves, and whose approvals count."""

from __future__ import annotations

import dataclasses
import os
import pwd
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.attack_lab import (
    ADA,
    ADA_BY_TOKEN,
    AUTO,
    BOB,
    REVIEW,
    TWO,
    Cases,
    Lab,
    Memoriser,
    champion,
    refused,
    turn_once,
    unchanged,
)
from flywheel import turn as turning
from flywheel.config import PromotionTable
from flywheel.records import GateResult
from flywheel.store import adapters, decisions, turns
from flywheel.turn import Runtime, integrity
from flywheel.web.peer import EVERY_ROLE, NO_LOGIN, of_token, on_socket

CASES = Cases("one door")


# Going back


@CASES
def a_rollback_to_an_adapter_that_waits_for_people_is_refused(lab: Lab) -> str:
    runtime = lab.loop(TWO)
    why = "has never been champion"
    return refused(
        lambda: turning.rollback(runtime, lab.history.better, ADA, "now"), why
    ) or unchanged(runtime, lab)


@CASES
def a_rollback_to_a_rejected_adapter_is_refused(lab: Lab) -> str:
    runtime = lab.loop(TWO)
    turning.reject(runtime, "d-3", BOB, "no")
    why = "has never been champion"
    return refused(
        lambda: turning.rollback(runtime, lab.history.better, ADA, "still"), why
    ) or unchanged(runtime, lab, "rejected")


@CASES
def a_rollback_to_an_adapter_that_nobody_judged_is_refused(lab: Lab) -> str:
    runtime = lab.loop()
    with runtime.store.write() as con:
        known = adapters.get(con, lab.history.better)
        adapters.add(con, dataclasses.replace(known, id="a-unjudged", state="challenger"))
    shutil.copytree(runtime.adapters_dir / lab.history.better, runtime.adapters_dir / "a-unjudged")
    return refused(
        lambda: turning.rollback(runtime, "a-unjudged", ADA, "mine"), "never been champion"
    ) or unchanged(runtime, lab)


@CASES
def under_two_people_one_does_not_roll_forward_to_what_was_rolled_back(lab: Lab) -> str:
    runtime = lab.loop(TWO)
    turning.rollback(runtime, None, ADA, "complaints")
    for by in (ADA_BY_TOKEN, ADA, BOB, "root (uid 0)", "token"):
        if got := refused(lambda by=by: turning.rollback(runtime, lab.history.champion, by, "x")):
            return f"by {by}: {got}"
    serves = champion(runtime)
    return "" if serves == (lab.history.first,) * 2 else f"{serves} serves"


@CASES
def a_rollback_to_a_name_that_leads_out_of_the_folder_is_refused(lab: Lab) -> str:
    runtime = lab.loop()
    outside = runtime.config.state_dir / "evil"
    shutil.copytree(runtime.adapters_dir / lab.history.better, outside)
    for name in ("../evil", "champion", ".", "", "..", f"{lab.history.first}/", "production"):
        got = refused(lambda name=name: turning.rollback(runtime, name, ADA, "x"))
        if got and name:
            return f"{name}: {got}"
    return ""


# Decisions that are no longer about what serves


@CASES
def a_decision_against_an_old_champion_is_approved_by_nobody(lab: Lab) -> str:
    runtime = lab.loop()
    turning.rollback(runtime, None, ADA, "complaints")
    with runtime.store.write() as con:  # as if nothing had ended it
        old = decisions.get(con, "d-3")
        decisions.add(con, dataclasses.replace(old, id="d-5", status="pending", by="gates"))
    return refused(lambda: turning.approve(runtime, "d-5", BOB, "x"), "is superseded") or (
        "" if champion(runtime)[0] == lab.history.first else "another serves"
    )


@CASES
def an_adapter_that_failed_hygiene_is_overridden_by_nobody(lab: Lab) -> str:
    runtime = lab.loop(dataclasses.replace(REVIEW, allow_override=("hygiene", "overall")))
    leak = (GateResult(gate="hygiene", verdict="FAIL"), GateResult(gate="overall", verdict="PASS"))
    for name, verdict, status in (("d-4", "hold", "pending"), ("d-5", "reject", "rejected")):
        forge(runtime, name, gates=leak, verdict=verdict, status=status, by="gates")
        for override in ((), ("hygiene",), ("hygiene", "overall"), ("overall",)):
            if got := refused(
                lambda n=name, o=override: turning.approve(runtime, n, ADA, "x", list(o))
            ):
                return f"{name} with {override}: {got}"
    return unchanged(runtime, lab)


@CASES
def a_leak_found_later_stops_an_earlier_decision(lab: Lab) -> str:
    runtime = lab.loop()
    leak = (GateResult(gate="hygiene", verdict="FAIL"),)
    forge(runtime, "d-4", gates=leak, verdict="reject", status="rejected", by="gates")
    return refused(lambda: turning.approve(runtime, "d-3", ADA, "x"), "hygiene failed") or (
        unchanged(runtime, lab)
    )


@CASES
def a_decision_whose_gates_were_silent_is_approved_by_nobody(lab: Lab) -> str:
    runtime = lab.loop()
    forge(runtime, "d-4", gates=(), verdict="promote", status="pending", by="gates")
    return refused(lambda: turning.approve(runtime, "d-4", ADA, "x"), "hygiene had no word")


def forge(runtime: Runtime, name: str, **changes: Any) -> None:
    """A decision about the adapter of d-3, as a later turn would leave it."""
    with runtime.store.write() as con:
        judged = decisions.get(con, "d-3")
        decisions.add(con, dataclasses.replace(judged, id=name, **changes))


# Files


def _a_byte_more(folder: Path) -> None:
    with (folder / "flywheel.json").open("a", encoding="utf-8") as file:
        file.write(" ")


def _another_model(folder: Path) -> None:
    text = (folder / "flywheel.json").read_text(encoding="utf-8")
    (folder / "flywheel.json").write_text(text.replace("set_alarm", "pay_bill"), encoding="utf-8")


def _an_extra_file(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(b"\0")


def _a_hidden_file(folder: Path) -> None:
    (folder / ".deep").mkdir()
    (folder / ".deep" / "more").write_bytes(b"\0")


def _a_file_gone(folder: Path) -> None:
    (folder / "flywheel.json").unlink()


def _a_linked_file(folder: Path) -> None:
    (folder / "flywheel.json").rename(folder.parent / "elsewhere.json")
    (folder / "flywheel.json").symlink_to(folder.parent / "elsewhere.json")


def _a_second_name(folder: Path) -> None:
    """The same bytes, which another name of the file may still change."""
    os.link(folder / "flywheel.json", folder.parent / "outside.json")
    (folder.parent / "outside.json").write_text("{}", encoding="utf-8")


def _a_linked_folder(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to("elsewhere")


def _no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def _a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "more")


_CHANGES: tuple[Callable[[Path], None], ...] = (
    _a_byte_more,
    _another_model,
    _an_extra_file,
    _a_hidden_file,
    _a_file_gone,
    _a_linked_file,
    _a_second_name,
    _a_linked_folder,
    _no_folder,
    _a_pipe,
)


@CASES
def an_adapter_whose_files_changed_after_it_was_judged_is_not_approved(lab: Lab) -> str:
    for change in _CHANGES:
        runtime = lab.loop()
        change(runtime.adapters_dir / lab.history.better)
        got = refused(lambda loop=runtime: turning.approve(loop, "d-3", ADA, "fine"))
        if got := got or unchanged(runtime, lab):
            return f"{change.__name__}: {got}"
    return ""


@CASES
def files_that_change_between_two_approvals_are_found_at_the_second(lab: Lab) -> str:
    for change in _CHANGES:
        runtime = lab.loop(TWO)
        turning.approve(runtime, "d-3", ADA, "fine")
        change(runtime.adapters_dir / lab.history.better)
        got = refused(lambda loop=runtime: turning.approve(loop, "d-3", BOB, "fine"))
        if got := got or unchanged(runtime, lab):
            return f"{change.__name__}: {got}"
    return ""


@CASES
def a_former_champion_with_other_files_is_not_gone_back_to(lab: Lab) -> str:
    for change in _CHANGES:
        runtime = lab.loop()
        change(runtime.adapters_dir / lab.history.first)
        got = refused(lambda loop=runtime: turning.rollback(loop, None, ADA, "back"))
        if got := got or unchanged(runtime, lab):
            return f"{change.__name__}: {got}"
    return ""


@CASES
def files_that_change_between_approval_and_link_are_not_linked(lab: Lab) -> str:
    runtime = lab.loop()
    folder = runtime.adapters_dir / lab.history.better
    runtime.reconciling = _Meddling(lambda: _another_model(folder))  # type: ignore[assignment]
    if got := refused(lambda: turning.approve(runtime, "d-3", ADA, "fine"), "word is recorded"):
        return got
    if champion(runtime) != (lab.history.better, lab.history.champion):
        return f"{champion(runtime)}"
    return "" if runtime.unserved else "no problem is told"


class _Meddling:
    """A lock whose first holder finds the files changed."""

    def __init__(self, meddle: Callable[[], None]) -> None:
        self._lock, self._meddle = threading.Lock(), meddle

    def __enter__(self) -> None:
        self._lock.acquire()
        self._meddle()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


@CASES
def the_gates_do_not_promote_what_changed_after_they_judged_it(lab: Lab) -> str:
    runtime = lab.loop(AUTO)
    opened = turning.request(runtime, "manual").id
    while _state(runtime, opened) != "apply":
        turning.advance(runtime, opened)
    _another_model(runtime.adapters_dir / lab.history.better)
    turning.run_until_idle(runtime)
    serves = champion(runtime)
    return "" if serves == (lab.history.champion,) * 2 else f"{serves} serves"


@CASES
def a_model_that_is_exchanged_while_it_is_evaluated_is_not_judged(lab: Lab) -> str:
    for whose in (lab.history.better, lab.history.champion):
        runtime = lab.loop()
        folder = runtime.adapters_dir / whose

        class Meddler(Memoriser):
            def _predict(self, place: Path, spec: Any, folder: Path = folder) -> dict[str, Any]:
                values = super()._predict(place, spec)
                _another_model(folder)
                return values

        runtime.executor = Meddler()
        opened = turn_once(runtime)
        if _state(runtime, opened) != "failed":
            return f"{whose}: the turn is {_state(runtime, opened)}"
    return ""


def _state(runtime: Runtime, turn_id: str) -> str:
    with runtime.store.read() as con:
        return turns.get(con, turn_id).state


@CASES
def a_changed_champion_is_a_problem_at_every_start_and_of_db_check(lab: Lab) -> str:
    for change in _CHANGES:
        runtime = lab.loop()
        change(runtime.adapters_dir / lab.history.champion)
        if got := refused(lambda loop=runtime: turning.reconcile(loop)):
            return f"{change.__name__}: {got}"
        told = integrity.check(runtime.store, runtime.config.state_dir)["problems"]
        if not any(lab.history.champion in problem for problem in told):
            return f"{change.__name__}: db check says {told}"
    return ""


# Two people


def _accounts() -> tuple[int, int]:
    """Two uids with names, neither of them root."""
    found = [entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid not in (0, 65534)]
    return found[0], found[1]


@CASES
def the_same_person_approves_once_whatever_door_they_come_by(lab: Lab) -> str:
    one, _ = _accounts()
    name = pwd.getpwuid(one).pw_name
    doors = [
        on_socket(one, NO_LOGIN, EVERY_ROLE),  # a service of theirs
        on_socket(one, one, EVERY_ROLE),  # logged in
        on_socket(0, one, EVERY_ROLE),  # by sudo
        on_socket(_accounts()[1], one, EVERY_ROLE),  # by sudo -u another
        of_token("ops", name, EVERY_ROLE),
        of_token("desk", name, EVERY_ROLE),
    ]
    for first in doors:
        runtime = lab.loop(TWO)
        turning.approve(runtime, "d-3", str(first), "fine")
        for second in doors:
            got = refused(lambda loop=runtime, by=second: turning.approve(loop, "d-3", str(by), ""))
            if got := got or unchanged(runtime, lab):
                return f"{first}, then {second}: {got}"
    return ""


@CASES
def nobody_in_particular_is_never_the_second_person(lab: Lab) -> str:
    nobodies = [
        on_socket(0, NO_LOGIN, EVERY_ROLE),  # root
        on_socket(0, 0, EVERY_ROLE),  # logged in as root
        on_socket(4_000_000, NO_LOGIN, EVERY_ROLE),  # a uid without an account
        on_socket(_accounts()[0], -1, EVERY_ROLE),  # a login that is hidden
        of_token("", "", EVERY_ROLE),  # token_env
        of_token("shop", "", EVERY_ROLE),
        of_token("desk", "", EVERY_ROLE),
    ]
    for first in (ADA, *map(str, nobodies)):
        runtime = lab.loop(TWO)
        turning.approve(runtime, "d-3", first, "fine")
        for second in nobodies:
            got = refused(lambda loop=runtime, by=second: turning.approve(loop, "d-3", str(by), ""))
            if got := got or unchanged(runtime, lab):
                return f"{first}, then {second}: {got}"
    return ""


@CASES
def a_hundred_approvals_of_one_person_at_once_are_one(lab: Lab) -> str:
    runtime = lab.loop(TWO)
    accepted: list[str] = []

    def approve(by: str) -> None:
        if refused(lambda: turning.approve(runtime, "d-3", by, "fine")):
            accepted.append(by)

    threads = [
        threading.Thread(target=approve, args=(by,)) for by in (ADA, ADA_BY_TOKEN) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(accepted) != 1:
        return f"{len(accepted)} approvals were taken"
    return unchanged(runtime, lab)


@CASES
def an_approval_before_a_rejection_or_a_restart_does_not_count_after_it(lab: Lab) -> str:
    runtime = lab.loop(TWO)
    turning.approve(runtime, "d-3", ADA, "fine")
    turning.reject(runtime, "d-3", BOB, "no")
    return refused(lambda: turning.approve(runtime, "d-3", BOB, "yes"), "rejected") or unchanged(
        runtime, lab, "rejected"
    )


@CASES
def the_number_of_people_asked_for_is_that_of_today(lab: Lab) -> str:
    runtime = lab.loop(REVIEW)
    runtime.config = dataclasses.replace(runtime.config, promotion=TWO)  # while d-3 waits
    turning.approve(runtime, "d-3", ADA, "fine")
    if got := unchanged(runtime, lab):
        return got
    three = dataclasses.replace(TWO, approvals=3)
    runtime.config = dataclasses.replace(runtime.config, promotion=three)
    turning.approve(runtime, "d-3", BOB, "fine")
    return unchanged(runtime, lab)


@CASES
def the_gates_do_not_apply_alone_once_people_are_asked_for(lab: Lab) -> str:
    runtime = lab.loop(AUTO)
    opened = turning.request(runtime, "manual").id
    while _state(runtime, opened) != "apply":
        turning.advance(runtime, opened)
    table: PromotionTable = TWO
    runtime.config = dataclasses.replace(runtime.config, promotion=table)
    turning.run_until_idle(runtime)
    serves = champion(runtime)
    return "" if serves == (lab.history.champion,) * 2 else f"{serves} serves"


# A real daemon


@CASES
def a_daemon_counts_one_person_by_two_doors_once(lab: Lab) -> str:
    daemon = lab.daemon()
    reason = {"because": "fine"}
    path = "/v1/decisions/d-3/approve"
    first = daemon.by("ada", "POST", path, reason)
    if first.status != 200 or first.json["status"] != "pending":
        return f"the first approval: {first}"
    again = [
        daemon.by("ada", "POST", path, reason).status,
        daemon.ask("POST", path, reason).status,  # root of this machine, or one beside ada
        daemon.by("old", "POST", path, reason).status,
        daemon.by("decide", "POST", path, reason).status,
        daemon.by("admin", "POST", path, reason).status,
    ]
    if os.getuid() == 0 and any(status == 200 for status in again):
        return f"{again}"
    if daemon.admin("GET", "/v1/status")["champion"] != lab.history.champion:
        return "it was promoted"
    last = daemon.by("bob", "POST", path, reason)
    return "" if last.status == 200 and last.json["status"] == "applied" else f"bob: {last}"


@CASES
def a_daemon_promotes_nothing_whose_folder_is_gone_and_says_so(lab: Lab) -> str:
    daemon = lab.daemon(promotion="approvals = 1")
    place = daemon.folder / "var" / "adapters" / lab.history.better
    shutil.rmtree(place)
    reply = daemon.by("ada", "POST", "/v1/decisions/d-3/approve", {"because": "x"})
    status = daemon.admin("GET", "/v1/status")
    held = daemon.admin("GET", "/v1/decisions/d-3")["status"]
    if (reply.status, status["champion"], held) != (409, lab.history.champion, "pending"):
        return f"{reply}, {status['champion']}, d-3 is {held}"
    return ""


@CASES
def a_daemon_killed_after_an_approval_serves_it_and_no_other_at_its_start(lab: Lab) -> str:
    daemon = lab.daemon(promotion="approvals = 1")
    reply = daemon.by("ada", "POST", "/v1/decisions/d-3/approve", {"because": "x"})
    daemon.kill()
    link = daemon.folder / "var" / "adapters" / "champion"
    link.unlink()
    link.symlink_to(lab.history.first)  # somebody moves it meanwhile
    daemon.start()
    now = (daemon.admin("GET", "/v1/status")["champion"], link.readlink().name)
    return "" if reply.status == 200 and now == (lab.history.better,) * 2 else f"{reply} {now}"
