"""`flywheel status` and `flywheel intents`: what the daemon does, and how the intents do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Annotated, Any

import typer

from flywheel.cli.command import Json, daemon
from flywheel.cli.screen import Column, facts, heading, left_out, prose, raw_json, say, table
from flywheel.cli.text import clean, counted, moment, number, plural, share, span


def status(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Say what the daemon does, what is next, and what waits."""
    reply = daemon(ctx).get("status")
    if as_json:
        return raw_json(reply.body)
    now: Mapping[str, Any] = reply.value
    backlog = now.get("backlog") or {}
    say(
        f"flywheel {clean(now.get('version', '?'))}, up {span(float(now.get('uptime_s') or 0))}",
        "",
        *facts(
            [
                ("champion", clean(now.get("champion") or "none yet")),
                *_first_champion(now.get("first_champion")),
                *_serving(now.get("serving") or {}),
                *_watch(now.get("watch") or {}),
                ("turn", _turn(now.get("turn"))),
                ("next turn", moment(now.get("next_turn"))),
                *_backlog(backlog),
                *_input(now.get("input") or {}),
                *_archive(now.get("archive") or {}),
                ("golden", _golden(now.get("golden"))),
                *_audit(now.get("audit")),
                *_health_of(now.get("health") or {}),
                *_costs(now.get("costs") or []),
                ("sources", _sources(now.get("sources"))),
                *_redo(now.get("redo") or {}),
                *_overrides(now.get("overrides") or []),
            ]
        ),
        "",
        *_problems(now.get("problems") or []),
        *_next_steps(backlog),
    )
    return None


def _serving(serving: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What answers, and how its last round of parity went; nothing to tell of a link."""
    if serving.get("kind") in (None, "link"):
        return []
    parity = serving.get("parity") or {}
    answers = clean(serving.get("adapter") or "nothing")
    engine = f" by {clean(serving['engine'])}" if serving.get("engine") else ""
    proved = ""
    if parity:
        differing = f"{number(parity['differing'])} differ" if parity["differing"] else "all equal"
        asked = plural(parity["asked"], "text")
        proved = f"; parity {moment(parity['at'])}: {asked}, {differing}"
    pairs = [("serving", f"{answers}{engine} ({clean(serving['kind'])}){proved}")]
    if serving.get("applying"):
        pairs.append(("", f"{clean(serving['applying'])} is being applied"))
    return pairs


def _watch(watch: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The two arms of a watched promotion, and what would be seen; nothing while it is off."""
    if watch.get("mode") in (None, "off"):
        return []
    pairs = [("watch", f"{clean(watch['mode'])}; nothing is watched")]
    if watch.get("since"):
        new, earlier = watch["champion"], watch["earlier"]
        arms = [
            f"{clean(arm['adapter'])}: {plural(arm['answers'], 'answer')} to "
            f"{plural(arm['keys'], 'key')}, {number(arm['corrected'])} corrected"
            for arm in (new, earlier)
        ]
        evidence = f"E = {watch['e_value']:.3g} of {watch['threshold']:.3g}"
        head = f"{clean(watch['mode'])}; {share(watch['share'])} of keys; {evidence}"
        pairs = [("watch", head), ("", arms[0]), ("", arms[1])]
    elif watch.get("last"):
        pairs.append(("", f"{clean(watch['decision'])} ended: {clean(watch['last'])}"))
    if sees := watch.get("sees"):
        named = [
            f"{clean(each['intent'])} ×{each['multiple']:g} in {number(each['answers'])}"
            for each in sees[:_NAMED]
        ]
        pairs.append(("", f"would see, in answers: {', '.join(named)}{_more(sees)}"))
    if unseen := watch.get("unseen"):
        names = ", ".join(clean(each) for each in unseen[:_NAMED])
        pairs.append(("", f"cannot see harm to: {names}{_more(unseen)}"))
    return pairs


_NAMED = 4  # intents of a line


def _more(listed: Sequence[object]) -> str:
    return f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""


def _first_champion(first: Any) -> list[tuple[str, str]]:
    """How far it is to a first champion, where people label traffic for it."""
    if not first or first["ready"] or not first["traffic"]:
        return []
    needs = [(name, first[name]) for name in ("seeds", "dev", "golden", "intents")]
    parts = [
        f"{number(need['have'])} of {number(need['need'])} {name}"
        for name, need in needs
        if need["have"] < need["need"] or (name != "intents" and need["need"] > 1)
    ]
    return [("", f"for the first one: {', '.join(parts)}")]


def _turn(turn: Any) -> str:
    if not turn:
        return "none open"
    if not isinstance(turn, Mapping):
        return f"{clean(turn)} is open"
    since = f", since {moment(turn['opened_at'])}" if turn.get("opened_at") else ""
    opened = f" ({clean(turn['trigger'])}{since})" if turn.get("trigger") else ""
    doing = progress(turn)
    return (
        f"{clean(turn.get('id', '?'))} is in {clean(turn.get('state', '?'))}"
        f"{f': {doing}' if doing else ''}{opened}"
    )


def progress(turn: Mapping[str, Any]) -> str:
    """What an open turn's job said last, and how long it has left by its own estimate."""
    now: Mapping[str, Any] = turn.get("progress") or {}
    detail = clean(now.get("detail") or "")
    eta = now.get("eta_s")
    left = f"about {span(float(eta))} left" if eta is not None and float(eta) >= 1 else ""
    return ", ".join(filter(None, (detail, left)))


def _backlog(backlog: Mapping[str, Any]) -> list[tuple[str, str]]:
    news = f"{plural(backlog.get('predictions', 0), 'prediction')}, "
    pairs = [("events", news + f"{number(backlog.get('feedback', 0))} feedback")]
    if backlog.get("waiting_feedback"):
        pairs.append(("", f"{number(backlog['waiting_feedback'])} feedback wait for a prediction"))
    if backlog.get("rejected"):
        clashing = backlog.get("id_conflicts")
        why = f", {number(clashing)} for an id that another event has" if clashing else ""
        pairs.append(("", f"{number(backlog['rejected'])} were rejected{why}"))
    if backlog.get("rejected"):
        pairs.append(("", "see: flywheel rejected list"))
    if backlog.get("labels_wanted"):
        pairs.append(("labels wanted", counted(backlog["labels_wanted"])))
    if backlog.get("held"):
        pairs.append(("held", ", ".join(clean(each) for each in backlog["held"])))
    return pairs


def _input(came: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was loaded since the start, and scores that are seen and do not count."""
    loaded = came.get("loaded") or {}
    pairs = []
    if any(loaded.values()):
        parts = f"{number(loaded['new'])} new, {number(loaded['known'])} known already"
        clash = loaded["conflicts"]
        other = f", {number(clash)} with the id of another event" if clash else ""
        pairs.append(("loaded", f"{parts}{other}, since the start"))
    if came.get("scores"):
        counted = f"{number(came['scores_counted'])} of {plural(came['scores'], 'score')} count"
        pairs.append(("scores", f"{counted}; see: flywheel feedback scores"))
    return pairs


def _archive(archive: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not archive.get("before"):
        return []
    news = f"{plural(archive['predictions'], 'prediction')}, {number(archive['feedback'])} feedback"
    return [("archive", f"{news} from before {clean(str(archive['before'])[:10])}")]


def _golden(golden: Any) -> str:
    if not golden or golden.get("generation") is None:
        return "none; no challenger can be judged before one is imported"
    left = golden.get("queries_left")
    queries = "" if left is None else f", {plural(left, 'query', 'queries')} left"
    rows = f", {plural(golden['rows'], 'row')}" if golden.get("rows") else ""
    learned = f", {number(golden['learned'])} more learned" if golden.get("learned") else ""
    return f"generation {number(golden['generation'])}{rows}{learned}{queries}"


def _audit(audit: Any) -> list[tuple[str, str]]:
    """How often production is right, by the audit sample."""
    if not audit or not audit["n"]:
        return []
    beside = [f"{audit[name]} {name}" for name in ("skipped", "disputed") if audit[name]]
    right = f"{share(audit['accuracy'])} right ({_bounds(audit)} %) of "
    more = f"; {', '.join(beside)}" if beside else ""
    return [("audit", f"{right}{plural(audit['n'], 'audited prediction')}{more}")]


def _health_of(health: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the health of intents does not rest on yet; nothing where that is all."""
    return [("health", clean(health["waiting"]))] if health.get("waiting") else []


def _costs(costs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What answers cost, where that is known: those of a model that somebody else serves."""
    lines = [
        f"{clean(each['adapter'] or 'no adapter named')}: ${each['usd']:,.2f} for "
        f"{plural(each['answers'], 'answer')} in the window"
        for each in costs
    ]
    return [("cost" if not row else "", line) for row, line in enumerate(lines)]


def _bounds(rate: Mapping[str, Any]) -> str:
    return f"{100 * rate['low']:.0f}–{100 * rate['high']:.0f}"


def _overrides(variables: Sequence[str]) -> list[tuple[str, str]]:
    """The daemon's environment, where it goes before config.toml."""
    return [("environment", f"sets {', '.join(map(clean, variables))}")] if variables else []


def _sources(sources: Any) -> str:
    if not sources:
        return "none configured"
    rows = sources.items() if isinstance(sources, Mapping) else enumerate(sources)
    return "; ".join(_source(name, value) for name, value in rows)


def _source(name: Any, value: Any) -> str:
    if not isinstance(value, Mapping):
        return clean(value if isinstance(name, int) else f"{name} {value}")
    state = clean(value.get("state") or "").replace("_", " ")
    why = f": {clean(value['error'])}" if value.get("error") else ""
    return f"{clean(value.get('name', name))} {state}{why}".strip()


def _redo(redo: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How much of the redo log waits for a checkpoint that is read back, and what it gave."""
    if not redo:  # a daemon of before
        return []
    proved = moment(redo["proved_at"]) if redo.get("proved_at") else "not since the start"
    said = f"{number(redo['bytes'] // 1000)} kB; checkpoint read back: {proved}"
    if redo.get("replayed") or redo.get("lost"):
        lost = f", {number(redo['lost'])} lost" if redo["lost"] else ""
        said += f"; {plural(redo['replayed'], 'transaction')} repeated at the start{lost}"
    return [("redo log", said)]


def _problems(problems: list[Any]) -> list[str]:
    if not problems:
        return ["no problems"]
    lines = [heading(plural(len(problems), "problem"))]
    for problem in problems:
        if isinstance(problem, Mapping):
            text = problem.get("problem") or problem.get("message") or problem.get("error") or ""
            problem = " → ".join(str(part) for part in (text, problem.get("hint")) if part)
        lines += prose(clean(problem), "  ")
    return lines


def _next_steps(backlog: Mapping[str, Any]) -> list[str]:
    steps = [f"  flywheel review show {clean(each)}" for each in backlog.get("held") or []]
    if backlog.get("labels_wanted"):
        steps.append("  flywheel samples label")
    return ["", "next:", *steps] if steps else []


def _scope(adapter: str, slices: list[str]) -> dict[str, str]:
    """The query that narrows the predictions down."""
    query = {"adapter": adapter} if adapter else {}
    for each in slices:
        name, equals, value = each.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{each} is not NAME=VALUE, as in channel=voice")
        query[f"slice.{name}"] = value
    return query


def intents(
    ctx: typer.Context,
    *,
    failing: Annotated[
        bool, typer.Option("--failing", help="Only those that are shown to fail.")
    ] = False,
    adapter: Annotated[str, typer.Option(help="Only predictions of this adapter.")] = "",
    slices: Annotated[
        list[str] | None,
        typer.Option("--slice", metavar="NAME=VALUE", help="Only predictions with this slice."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the health of each intent, with an interval.

    Served: predictions of it. Judged: labelled answers of today's champion that concern it; what a
    champion before it got wrong is only in the trend. Labelled texts that it was not asked yet,
    right after a promotion or a rollback, are in no figure; their number is told. FAILING: its
    errors would hardly come about while its error rate is within [intents] max_error_rate.
    Suspect: errors lean that way and do not show it. `dev 6/10`: it has no feedback, and the
    champion got 6 of its 10 dev samples wrong.
    Below the table: what this rests on, how many labels drawn by lot would tell more, and what
    those that there are say; feedback is given more often when an answer was wrong.
    """
    if ctx.invoked_subcommand is not None:
        return None
    reply = daemon(ctx).get("intents", query=_scope(adapter, slices or []))
    wanted = [row for row in reply.value if row.get("failing") or not failing]
    if as_json:
        return raw_json(json.dumps(wanted, ensure_ascii=False).encode() if failing else reply.body)
    rows = sorted(wanted, key=_worst_first)
    if not rows:
        say("no intent is failing" if failing else "no intents yet", *_pending(reply.value))
        return None
    _say_health(rows)
    say(*_pending(reply.value))
    known = [row for row in rows if not row.get("unknown")]
    failures = sum(bool(row.get("failing")) for row in known)
    suspects = sum(bool(row.get("suspect")) for row in known)
    if not failing:
        more = f", {suspects} suspected" if suspects else ""
        say("", f"{plural(len(known), 'intent')}, {failures} failing{more}")
    return None


def _worst_first(row: Mapping[str, Any]) -> tuple[bool, bool, float, str]:
    failing, suspect = bool(row.get("failing")), bool(row.get("suspect"))
    return not failing, not suspect, -(row.get("error_rate") or 0), row["intent"]


def _say_health(rows: Sequence[Mapping[str, Any]]) -> None:
    """The table, unknown names, what labels by lot say, and what the rest rests on."""
    cells = [_health(row) for row in rows]
    say(*table(_HEALTH, cells))
    if missing := left_out(_HEALTH, cells):
        them = "it" if len(missing) == 1 else "them"
        say("", f"no room for {', '.join(missing)}: a wider terminal shows {them}, and --json")
    unknown = [row for row in rows if row.get("unknown")]
    if unknown:
        say("", "no intent has these names:", *[f"  {_unknown(row)}" for row in unknown])
    audited = [row for row in rows if row.get("audit")]
    if audited:
        say("", "by the audit sample:", *table(_AUDIT, [_audited(row) for row in audited]))
    say(*_evidence([row for row in rows if not row.get("unknown")]))


def _unknown(row: Mapping[str, Any]) -> str:
    """A name that is no intent, and the command that maps it."""
    seen = f"{plural(row['predictions'], 'prediction')}, {number(row['feedback'])} judged"
    new = clean(row.get("nearest") or "NEW")
    name = clean(row["intent"])
    step = clean(row.get("next_step") or "") or f"flywheel intents alias {quote(name)} {new}"
    return f"{name} ({seen}): {step}"


def _pending(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What today's champion was not asked yet, by intent: the figures are without it."""
    asked = {row["intent"]: row["pending"] for row in rows if row.get("pending")}
    if not asked:
        return []
    champion = clean(next(row["adapter"] for row in rows if row.get("pending")))
    told = f"pending: labelled texts that {champion} was not asked yet, in no figure: "
    return ["", *prose(f"{told}{counted(asked)}", "")]


_SHOWN_BY = {
    "audit": "labels drawn by lot",
    "feedback": "feedback, read with its bias",
    "dev": "dev",
}


def _evidence(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What failing and suspected intents rest on, and how to label what tells more."""
    lines = [f"  {line}" for row in rows if (line := _rests_on(row))]
    if not lines:
        return []
    wanted = any(row.get("audit_wanted") for row in rows if row.get("suspect"))
    more = ["", "to label what tells more: flywheel samples label"] if wanted else []
    return ["", "what this rests on:", *lines, *more]


def _rests_on(row: Mapping[str, Any]) -> str:
    """By what an intent fails, or why it is only suspected and what would tell; "" of others."""
    name = clean(row["intent"])
    if shown := row.get("shown_by"):
        return f"{name}: shown by {' and '.join(_SHOWN_BY.get(kind, kind) for kind in shown)}"
    if not row.get("suspect"):
        return ""
    leans = "errors are too few to show it"
    if row.get("stream") == "complaints":
        leans = "complaints alone are no rate"
    wanted = row.get("audit_wanted") or 0
    tells = f"; about {plural(wanted, 'label')} drawn by lot would tell" if wanted else ""
    return f"{name}: suspected, {leans}{tells}"


_HEALTH = (
    Column(title="intent", least=16, names=True),
    Column(title="served", right=True, spare=2),
    Column(title="judged", right=True),
    Column(title="errors", right=True, spare=3),
    Column(title="rate", right=True, spare=1),
    Column(title="interval", right=True),
    Column(title="trend", spare=4),
    Column(title=""),
    Column(title="confused with", least=13, names=True),
)


_AUDIT = (
    Column(title="intent", least=16, names=True),
    Column(title="audited", right=True),
    Column(title="errors", right=True),
    Column(title="interval", right=True),
)


def _audited(row: Mapping[str, Any]) -> list[str]:
    audit = row["audit"]
    interval = f"{_bounds(audit)} %"
    return [clean(row["intent"]), number(audit["n"]), number(audit["errors"]), interval]


def _health(row: Mapping[str, Any]) -> list[str]:
    rate = row.get("error_rate")
    interval = f"{_bounds(row)} %" if rate is not None else "-"
    trend = row.get("trend") or "unknown"
    return [
        clean(row["intent"]),
        number(row.get("predictions")),
        number(row.get("feedback")),
        number(row.get("errors")),
        share(rate),
        interval,
        "-" if trend == "unknown" else clean(trend),
        _state(row),
        _confused(row.get("confused_with") or []) or _on_dev(row),
    ]


def _state(row: Mapping[str, Any]) -> str:
    if row.get("failing"):
        return "FAILING"
    return "suspect" if row.get("suspect") else "unknown" if row.get("unknown") else ""


def _on_dev(row: Mapping[str, Any]) -> str:
    """The champion's own evaluation, which alone may be why an intent without feedback fails."""
    errors = row.get("dev_errors")
    return f"dev {number(errors)}/{number(row.get('dev_n'))}" if errors else ""


def _confused(pairs: Any) -> str:
    """The two neighbours it is most confused with, from `[[name, count], …]` or a mapping."""
    listed = list(pairs.items()) if isinstance(pairs, Mapping) else list(pairs)
    named = [
        (each.get("intent"), each.get("count")) if isinstance(each, Mapping) else tuple(each)
        for each in listed[:2]
    ]
    return ", ".join(f"{clean(name)} {number(count)}" for name, count in named)
