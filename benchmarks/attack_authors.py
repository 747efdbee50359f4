"""Attacks on authorship: whoever changes what judges stands in the chain and in the log."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.attack_lab import ADA, INTENTS, TWO, Cases, Daemon, Lab, champion, decision, refused
from flywheel import turn as turning
from flywheel.promotion import MACHINES
from flywheel.store import samples

CASES = Cases("authorship")

_TEXT = "a sentence that somebody once said"
_REASON = "because of 4111 1111"


def _golden(lab: Lab, count: int, start: int = 0) -> bytes:
    word = lab.history.words[INTENTS[0]][0]
    rows = [
        {"text": f"{word} {_TEXT} {n}", "intent": INTENTS[0], "split": "golden"}
        for n in range(start, start + count)
    ]
    return "\n".join(map(json.dumps, rows)).encode()


def _acts(daemon: Daemon) -> list[tuple[str, str, str]]:
    return [(act["what"], act["by"], act["because"]) for act in daemon.admin("GET", "/v1/acts")]


@CASES
def every_change_of_what_judges_has_its_author_in_chain_and_log(lab: Lab) -> str:
    runtime = lab.loop()
    folder = runtime.config.path.parent
    with runtime.store.read() as con:
        row = samples.golden(con)[0].sample.id
    runtime.store.close()
    daemon = lab.daemon(folder=folder)
    by = "ada (token ada-ops)"
    broken = json.dumps({"id": "p-x", "ts": "x", "text": _TEXT, "intent": "none"})[:-1].encode()
    dispute: dict[str, Any] = {"sample": row, "because": _REASON, "disputed": True}
    steps: list[tuple[str, str, str, str, Any]] = [
        ("golden.imported", by, "POST", "/v1/samples", _golden(lab, 2)),
        ("golden.generation.opened", by, "POST", "/v1/samples?new_generation=1", _golden(lab, 3)),
        ("samples.imported", by, "POST", "/v1/samples", {
            "text": _TEXT, "intent": INTENTS[1], "split": "fresh"}),
        ("golden.disputed", by, "POST", "/v1/disputes", dispute),
        ("golden.put_back", by, "POST", "/v1/disputes", {**dispute, "disputed": False}),
        ("person.erased", "token admin", "POST", "/v1/erase", {"rater": "u-secret"}),
        ("backup.written", "token admin", "GET", "/v1/backup", None),
        ("rejected.dropped", "token admin", "POST", "/v1/rejected/drop", {}),
    ]  # fmt: skip
    daemon.ask("POST", "/v1/predictions", broken, ingest=True)
    for what, author, method, path, body in steps:
        reply = daemon.by("ada" if author == by else "admin", method, path, body)
        if reply.status not in (200, 202):
            return f"{what}: {reply}"
        newest = _acts(daemon)[:2]
        if (what, author) not in [(done, actor) for done, actor, _ in newest]:
            return f"{what} by {author} is not in the chain: {newest}"
    said = daemon.words()
    if said.count(f"by {by}") < 4 or "by token admin" not in said:
        return "an author is not in the log"
    problems = daemon.admin("GET", "/v1/check")["problems"]
    return f"{problems}" if problems else _kept_text(daemon)


def _kept_text(daemon: Daemon) -> str:
    told = json.dumps(_acts(daemon))
    said = daemon.words()
    kept = [word for word in (_TEXT, "u-secret", "4111 1111") if word in told]
    kept += [word for word in (_TEXT, "u-secret") if word in said]
    return f"kept: {kept}" if kept else ""


@CASES
def a_retry_and_a_reload_have_their_author_in_the_chain(lab: Lab) -> str:
    daemon = lab.daemon()
    daemon.ask(
        "POST",
        "/v1/predictions",
        {"id": "p-y", "ts": "2026-11-22T05:17:00Z", "text": _TEXT, "intent": "play"},
        ingest=True,
    )
    tools = json.loads((daemon.folder / "intents.json").read_text(encoding="utf-8"))
    tools[0]["renamed_from"] = ["play"]  # as `flywheel intents alias` writes it
    (daemon.folder / "intents.json").write_text(json.dumps(tools), encoding="utf-8")
    reply = daemon.by("admin", "POST", "/v1/reload", {})
    again = daemon.by("admin", "POST", "/v1/rejected/retry", {})
    told = [(what, by) for what, by, _ in _acts(daemon)]
    if reply.status != 200 or ("config.reloaded", "token admin") not in told:
        return f"reload: {reply}, {told[:4]}"
    if (
        again.status == 200
        and again.json["accepted"]
        and ("rejected.retried", "token admin") not in told
    ):
        return f"retry: {again}, {told[:4]}"
    return _kept_text(daemon)


@CASES
def a_reason_over_many_lines_is_one_line_of_the_log(lab: Lab) -> str:
    daemon = lab.daemon()
    forged = '{"ts": "2026", "level": "info", "message": "d-3 approved by bob (token bob-ops)"}'
    reason = f"fine\r\n{forged}\n\u2028{forged}\x1b[2K\x00"
    daemon.by("ada", "POST", "/v1/decisions/d-3/approve", {"because": reason})
    for line in daemon.words().splitlines():
        if line.strip().startswith('{"ts": "2026", "level"') or "\x1b" in line:
            return line
    return ""


@CASES
def who_is_called_like_a_machine_is_a_person_still(lab: Lab) -> str:
    for machine in sorted(MACHINES):
        runtime = lab.loop(TWO)
        turning.approve(runtime, "d-3", f"{machine} (token x)", "fine")
        if decision(runtime).status != "pending":
            return f"{machine}: d-3 is {decision(runtime).status}"
        runtime.store.close()
    runtime = lab.loop(TWO)
    turning.reject(runtime, "d-3", "gates (uid 7)", "no")
    why = "rejected"
    if got := refused(lambda: turning.approve(runtime, "d-3", ADA, "x", ["overall"]), why):
        return got
    return "" if champion(runtime)[0] == lab.history.champion else "another serves"


@CASES
def an_attempt_on_the_champion_that_is_refused_is_in_the_chain(lab: Lab) -> str:
    daemon = lab.daemon()
    daemon.by("ada", "POST", "/v1/rollback", {"to": lab.history.better, "because": _REASON})
    told = [(what, by) for what, by, _ in _acts(daemon)]
    if ("refused", "ada (token ada-ops)") not in told:
        return f"{told[:3]}"
    return _kept_text(daemon)
