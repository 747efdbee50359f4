"""Attacks on roles: who sends events does nothing else, however the request is written."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import os
import random
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

from benchmarks.attack_lab import INTENTS, ROLES, Cases, Daemon, Lab, Reply, acts, token_of
from flywheel.api.routes import ROUTES
from flywheel.config import load
from flywheel.errors import ConfigError
from flywheel.web.tokens import tokens_of

CASES = Cases("roles")

_INCLUDED = {
    "ingest": {"ingest"},
    "label": {"label", "look"},
    "look": {"look"},
    "decide": {"decide", "look"},
    "admin": set(ROLES),
}
_ONLY_BY = {
    "POST /v1/decisions/{id}/approve": {"decide", "admin"},
    "POST /v1/decisions/{id}/reject": {"decide", "admin"},
    "POST /v1/rollback": {"decide", "admin"},
    "POST /v1/disputes": {"decide", "admin"},
    "POST /v1/turns": {"decide", "admin"},
    "POST /v1/turns/{id}/cancel": {"decide", "admin"},
    "POST /v1/samples": {"label", "decide", "admin"},
    "POST /v1/labels": {"label", "admin"},
    "POST /v1/restore": {"admin"},
    "POST /v1/erase": {"admin"},
    "POST /v1/reload": {"admin"},
    "GET /v1/backup": {"admin"},
    "GET /v1/check": {"admin"},
    "GET /v1/rejected": {"admin"},
    "GET /v1/rejected/{id}": {"admin"},
    "POST /v1/rejected/drop": {"admin"},
    "POST /v1/rejected/retry": {"admin"},
}
"""Routes that change or give away most, and by whom: said here once more, by hand."""


def _standing(daemon: Daemon) -> tuple[Any, ...]:
    """What no attack of this part may change: champion, golden set, d-3, samples by split."""
    status = daemon.admin("GET", "/v1/status")
    held = daemon.admin("GET", "/v1/decisions/d-3")["status"]
    stored = daemon.admin("GET", "/v1/samples")
    splits = sorted((row["split"], row["intent"], row["count"]) for row in stored)
    return status["champion"], status["golden"], status["turn"], held, splits


@CASES
def each_role_opens_its_own_routes_and_no_other(lab: Lab) -> str:
    daemon = lab.standing_daemon()
    before = _standing(daemon)
    for route in ROUTES:
        name = f"{route.method} {route.path}"
        path = route.path.replace("{id}", "d-3")
        for role in ROLES:
            may = role in _ONLY_BY[name] if name in _ONLY_BY else False
            known = route.role == "anyone" or {route.role, route.or_role} & _INCLUDED[role]
            if name in _ONLY_BY and may is not bool(known):
                return f"the table of routes lets {role} do {name}"
            if known:
                continue
            for method in {route.method, "HEAD" if route.method == "GET" else route.method}:
                reply = daemon.by(role, method, path, b"{}" if method == "POST" else None)
                if reply.status != 403:
                    return f"{role} {method} {path}: {reply}"
    return "" if _standing(daemon) == before else "something was changed"


@CASES
def the_ingest_socket_takes_events_and_gives_nothing_away(lab: Lab) -> str:
    daemon = lab.standing_daemon()
    before = _standing(daemon)
    for route in ROUTES:
        if route.role in ("ingest", "anyone"):
            continue
        path = route.path.replace("{id}", "d-3")
        for headers in ({}, {"Authorization": f"Bearer {token_of('admin')}"}):
            reply = daemon.ask(route.method, path, ingest=True, headers=headers)
            if reply.status != 403:
                return f"{route.method} {path} with {sorted(headers)}: {reply}"
    return "" if _standing(daemon) == before else "something was changed"


# Samples where only events are taken


def _golden(lab: Lab, number: int = 0) -> dict[str, Any]:
    word = next(iter(lab.history.words.values()))[0]
    return {
        "text": f"{word} attack{number}",
        "intent": INTENTS[-1],
        "split": "golden",
        "must_pass": True,
    }


def _prediction(number: int) -> dict[str, Any]:
    when = "2026-11-22T05:17:00Z"
    return {"id": f"x-{number}", "ts": when, "text": f"hello {number}", "intent": "none"}


def _hidden_samples(lab: Lab) -> Iterator[tuple[str, str, bytes, Mapping[str, str]]]:
    """(what, path, body, headers) of requests that hold a sample among events."""
    golden = _golden(lab)
    item = {
        "id": "di-1",
        "input": {"query": golden["text"]},
        "expectedOutput": {"name": golden["intent"], "arguments": {}},
        "sourceTraceId": "tr-1",
        "split": "golden",
    }
    chat = {
        "messages": [
            {"role": "user", "content": golden["text"]},
            {
                "role": "assistant",
                "tool_calls": [{"function": {"name": golden["intent"], "arguments": "{}"}}],
            },
        ],
        "split": "golden",
    }
    ordinary = [json.dumps(_prediction(n)).encode() for n in range(20)]
    for name, event in (("native", golden), ("dataset item", item), ("chat", chat)):
        line = json.dumps(event).encode()
        whole = b"\n".join([*ordinary[:10], line, *ordinary[10:]])
        packed = {"Content-Encoding": "gzip"}
        for path in ("/v1/predictions", "/v1/feedback"):
            for query in ("", "?wait=1", "?format=auto", "?new_generation=1&wait=1"):
                yield f"{name} alone", path + query, line, {}
                yield f"{name} in a batch", path + query, whole, {}
            yield f"{name} in a list", path, b"[" + line + b"]", {}
            yield f"{name} compressed", path, gzip.compress(whole), packed
            yield f"{name} in UTF-16", path, line.decode().encode("utf-16"), {}
            yield f"{name} as text", path, json.dumps(line.decode()).encode(), {}
    split = {"split": "golden", "text": golden["text"], "intent": golden["intent"]}
    for extra in ({"id": "x-1"}, {"id": "x-1", "ts": "2026-11-22T05:17:00Z"}, {"verdict": "x"}):
        yield "with an id", "/v1/predictions", json.dumps({**split, **extra}).encode(), {}
        yield "with an id", "/v1/feedback", json.dumps({**split, **extra}).encode(), {}
    for path in ("/v1/traces", "/v1/logs"):
        yield "as a trace", path, json.dumps(golden).encode(), {}
        yield "as traces", path, json.dumps({"resourceSpans": [golden]}).encode(), {}


@CASES
def samples_hidden_among_events_are_taken_from_no_producer(lab: Lab) -> str:
    daemon = lab.standing_daemon()
    before = _standing(daemon)
    for _, group in itertools.groupby(_hidden_samples(lab), key=lambda each: each[0]):
        for what, path, body, headers in group:
            for reply in (
                daemon.ask("POST", path, body, ingest=True, headers=headers),
                daemon.ask("POST", path, body, token=token_of("ingest"), headers=headers),
            ):
                if reply.status >= 500:
                    return f"{what} to {path}: {reply}"
        if _standing(daemon) != before:
            return f"{what} was stored"
    return ""


@CASES
def who_labels_gives_nothing_that_judges_however_it_is_spelt(lab: Lab) -> str:
    daemon = lab.standing_daemon()
    before = _standing(daemon)
    judging = [row for row in before[-1] if row[0] != "train"]
    splits: list[Any] = ["golden", "dev", "fresh", "Golden", " golden", "GOLDEN\n", ["golden"]]
    for number, split in enumerate(splits):
        for more in ({}, {"origin": "seed"}, {"origin": "person", "must_pass": True}):
            row = {**_golden(lab, number), "split": split, **more}
            lines = [{**row, "split": "seed", "text": f"seed {number}"}, row]
            body = "\n".join(map(json.dumps, lines)).encode()
            for query in ("", "?new_generation=1", "?wait=1", "?format=native"):
                daemon.by("label", "POST", f"/v1/samples{query}", body)
    for query in ("new_generation=1", "new_generation=1&new_generation=0"):
        row = {**_golden(lab, 99), "split": "train"}
        reply = daemon.by("label", "POST", f"/v1/samples?{query}", row)
        if reply.status == 200 and daemon.admin("GET", "/v1/status")["golden"] != before[1]:
            return f"a new generation: {reply}"
    after = _standing(daemon)
    now = [row for row in after[-1] if row[0] != "train"]
    return "" if (after[:-1], now) == (before[:-1], judging) else f"{now}"


# Requests that are written in odd ways


def _raw(daemon: Daemon, request: bytes) -> bytes:
    """The first line of the answer to bytes over TCP."""
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        with contextlib.suppress(OSError):
            while part := connection.recv(65536):
                parts.append(part)
    return b"".join(parts)


def _spellings(path: str, chance: random.Random) -> list[str]:
    letters = [n for n, letter in enumerate(path) if letter.isalpha()]
    at = chance.choice(letters)
    return [
        path + "/",
        path + "//",
        path + "?",
        path + "%00",
        path + "%20",
        path + ";a=b",
        path + "/.",
        path + "/x/..",
        path.replace("/v1/", "/v1//"),
        path.replace("/v1/", "//v1/"),
        path.replace("/v1/", "/V1/"),
        path.replace("/v1/", "/v1/./"),
        path.replace("/v1/", "/v1/predictions/../"),
        path.replace("/v1/", "/v1%2f"),
        path.replace("/v1/", "/v1\\"),
        path.upper(),
        f"{path[:at]}%{ord(path[at]):02x}{path[at + 1 :]}",
        f"{path[:at]}%25{ord(path[at]):02x}{path[at + 1 :]}",
        f"http://127.0.0.1{path}",
        f"http://ada@elsewhere{path}",
    ]


@CASES
def a_path_or_a_method_written_in_another_way_opens_nothing(lab: Lab) -> str:
    daemon = lab.standing_daemon()
    before = _standing(daemon)
    secret = token_of("ingest")
    overriding = "X-HTTP-Method-Override: POST\r\nX-Original-URL: /healthz\r\n"
    for path in ("/v1/backup", "/v1/rollback", "/v1/decisions/d-3/approve", "/v1/samples"):
        for spelt in [path, *_spellings(path, lab.chance)]:
            for method in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "get", "TRACE"):
                request = (
                    f"{method} {spelt} HTTP/1.1\r\nHost: 127.0.0.1\r\n{overriding}"
                    f"Authorization: Bearer {secret}\r\nConnection: close\r\n"
                    "Content-Length: 15\r\n\r\n" + '{"because":"x"}'
                )
                status = _raw(daemon, request.encode("latin-1")).split(b"\r\n")[0]
                if b" 200" in status or b" 202" in status or b" 5" in status[8:11]:
                    return f"{method} {spelt}: {status!r}"
    return "" if _standing(daemon) == before else "something was changed"


@CASES
def a_second_request_in_one_connection_has_the_rights_of_its_own_token(lab: Lab) -> str:
    daemon = lab.standing_daemon()

    def line(token: str, path: str, close: str = "") -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{token}{close}\r\n".encode()

    admin = f"Authorization: Bearer {token_of('admin')}\r\n"
    ingest = f"Authorization: Bearer {token_of('ingest')}\r\n"
    for second in ("", ingest):
        answers = _raw(
            daemon, line(admin, "/v1/status") + line(second, "/v1/check", "Connection: close\r\n")
        )
        if answers.count(b"HTTP/1.1 200") != 1:
            return f"{answers[:400]!r}"
    smuggled = (
        f"POST /v1/predictions HTTP/1.1\r\nHost: localhost\r\n{ingest}"
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ).encode() + line("", "/v1/check", "Connection: close\r\n")
    answers = _raw(daemon, smuggled)
    return f"{answers[:400]!r}" if b"HTTP/1.1 200" in answers else ""


# Tokens


@CASES
def a_token_is_believed_only_where_it_belongs_and_whole(lab: Lab) -> str:
    daemon = lab.standing_daemon()
    secret = token_of("admin")
    texts = [
        f"Basic {secret}",
        f"Token {secret}",
        secret,
        f"Bearer {secret[:-1]}",
        f"Bearer {secret}x",
        f"Bearer {secret.upper()}",
        f"Bearer {secret}, Bearer {secret}",
        "Bearer ",
        "Bearer",
        f"Bearer {secret} {secret}",
        "Bearer None",
        f"Bearer\u00a0{secret}",
        f"Bearer {secret}\x00".replace("\x00", "%00"),
    ]
    for text in texts:
        header = {"Authorization": text}
        reply = daemon.ask("GET", "/v1/status", token="", headers=header)
        if reply.status not in (400, 401, 429):
            return f"{text[:12]}…: {reply.status}"
    for path in (f"/v1/status?token={secret}", f"/v1/status?access_token={secret}"):
        reply = daemon.ask("GET", path, token="", headers={"Authorization": "Bearer x"})
        if reply.status not in (401, 429):
            return f"in the URL: {reply.status}"
    cookie = {"Authorization": "", "Cookie": f"token={secret}", "X-Api-Key": secret}
    if (status := daemon.ask("GET", "/v1/status", token="", headers=cookie).status) < 400:
        return f"in another header: {status}"
    said = daemon.words()
    leaked = [name for name in (*ROLES, "old", "ada", "bob") if token_of(name) in said]
    return f"tokens of {leaked} stand in the log" if leaked else ""


@CASES
def wrong_tokens_in_bulk_are_slowed_down_and_keep_nobody_else_out(lab: Lab) -> str:
    daemon = lab.standing_daemon()
    before = len(daemon.words())
    statuses = []
    for number in range(200):
        statuses.append(daemon.ask("GET", "/v1/status", token=f"wrong-{number}" * 4).status)
        if number % 50 == 0 and daemon.by("look", "GET", "/v1/status").status != 200:
            return "the right token was refused"
    if set(statuses) - {401, 429} or statuses.count(429) < 150:
        return f"{statuses}"
    if len(daemon.words()) - before > 20_000:
        return "the log grew by more than a hundred bytes a request"
    return ""


@CASES
def no_header_says_who_a_caller_is(lab: Lab) -> str:
    daemon = lab.standing_daemon()
    lies = {
        "X-Forwarded-User": "ada",
        "X-Remote-User": "bob",
        "X-Forwarded-For": "10.0.0.1",
        "Forwarded": "for=10.0.0.1;by=ada",
        "From": "ada",
    }
    reply = daemon.ask("POST", "/v1/disputes", b"{}", token=token_of("ingest"), headers=lies)
    queue = daemon.ask("GET", "/v1/labels", token=token_of("label"), headers=lies)
    person = queue.json["person"]
    if reply.status != 403 or person != "token label":
        return f"{reply}, {person}"
    if "10.0.0.1" in daemon.words():
        return "an address that a header claims stands in the log"
    return ""


@CASES
def tokens_that_cannot_be_told_apart_or_can_be_guessed_stop_the_start(lab: Lab) -> str:
    bad = {
        "a short one": '[api.tokens.extra]\nenv = "T_short"\nrole = "look"\n',
        "one value twice": '[api.tokens.extra]\nenv = "T_admin"\nrole = "look"\n',
        "the old one again": '[api.tokens.extra]\nenv = "T_old"\nrole = "look"\n',
        "root as a person": '[api.tokens.extra]\nenv = "T_ada"\nrole = "decide"\nperson = "root"\n',
        "two people": '[api.tokens.extra]\nenv = "T_x"\nrole = "decide"\nperson = "a (uid 1)"\n',
        "no role": '[api.tokens.extra]\nenv = "T_x"\n',
        "an unknown role": '[api.tokens.extra]\nenv = "T_x"\nrole = "root"\n',
        "a token in the file": '[api.tokens.extra]\ntoken = "' + "x" * 40 + '"\nrole = "look"\n',
    }
    daemon = lab.daemon(start=False)
    secrets = {f"T_{name}": token_of(name) for name in (*ROLES, "ada", "bob", "old", "x")}
    for what, table in bad.items():
        daemon.config = table
        daemon.write_config()
        with mock.patch.dict(os.environ, {**secrets, "T_short": "x" * 31}):
            try:
                tokens_of(load(daemon.folder / "config.toml").api)
            except ConfigError as error:
                if token_of("admin") in str(error) or "T_x is not set" in error.message:
                    return f"{what}: {error}"
            else:
                return f"{what}: the configuration was taken"
    try:
        daemon.start()  # with the last one
    except RuntimeError as error:
        return "" if "Traceback" not in str(error) else str(error)
    return "the daemon started"


# What is left behind, and what is seen


@CASES
def refused_attempts_have_an_author_and_fill_neither_chain_nor_log(lab: Lab) -> str:
    daemon = lab.daemon()
    text = "my card is 4111 1111 1111 1111"
    before = daemon.admin("GET", "/v1/check")["decision_log"]["events"]
    began = len(daemon.words())
    for number in range(150):
        body = {"because": text, "to": f"{text} {number}"}
        daemon.by("ingest", "POST", "/v1/rollback", body)
        daemon.by("look", "POST", f"/v1/decisions/{number}-secret/approve", body)
        daemon.ask("GET", f"/v1/rejected/{number}?why=secret", ingest=True)
    after = daemon.admin("GET", "/v1/check")
    added = after["decision_log"]["events"] - before
    if not 3 <= added <= 6 or after["problems"]:
        return f"{added} events of 450 attempts; {after['problems']}"
    said = daemon.words()[began:]
    if len(said) > 45_000:
        return f"{len(said)} bytes of log"
    if "without the role" not in said:
        return "no refusal is in the log"
    daemon.stop()
    runtime = lab.loop(folder=daemon.folder)
    told = [(by, because) for what, by, because in acts(runtime) if what == "refused"]
    authors = {by for by, _ in told}
    if not {"token ingest", "token look"} <= authors:
        return f"{told}"
    leaked = "4111" in said or "secret" in said or any("secret" in why for _, why in told)
    return f"a text of the request was kept: {told}" if leaked else ""


@CASES
def who_may_only_look_sees_no_text_that_people_wrote(lab: Lab) -> str:
    daemon = lab.standing_daemon()
    texts = [word for words in lab.history.words.values() for word in words]
    for route in ROUTES:
        if route.method != "GET" or route.role not in ("look", "anyone"):
            continue
        names = ("d-3", "d-2", "t-3", "t-2") if "{id}" in route.path else ("",)
        for name in names:
            path = route.path.replace("{id}", name)
            for query in ("", "?format=ndjson", "?failing=1", "?decision=d-3"):
                reply = daemon.by("look", "GET", path + query)
                seen = [word for word in texts if word.encode() in reply.body]
                if seen:
                    return f"{path}{query}: {seen[:3]} {_around(reply, seen[0])}"
    return ""


def _around(reply: Reply, word: str) -> str:
    text = reply.body.decode()
    at = text.index(word)
    return text[max(0, at - 120) : at + 40]


@CASES
def a_web_page_changes_nothing_in_its_readers_name(lab: Lab) -> str:
    daemon = lab.standing_daemon()
    before = _standing(daemon)
    pages: list[Mapping[str, str]] = [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
        {"Host": "router.evil.example:80", "Content-Type": "text/plain"},
    ]
    for headers in pages:
        for method, path in (
            ("POST", "/v1/rollback"),
            ("POST", "/v1/decisions/d-3/approve"),
            ("POST", "/v1/samples"),
            ("POST", "/v1/erase"),
        ):
            reply = daemon.ask(method, path, {"because": "x"}, headers=headers)
            if reply.status not in (400, 403):
                return f"{headers} {path}: {reply}"
    return "" if _standing(daemon) == before else "something was changed"
