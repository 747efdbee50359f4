"""One decision as a page that is read in two minutes.

The verdict first in a sentence, then why (gates, intents), then what to look at (examples, slices,
training data, hashes), then the commands that act on it. `report` shares the table of gates.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from flywheel.cli import evidence_page
from flywheel.cli.screen import Column, facts, heading, prose, table
from flywheel.cli.text import (
    clean,
    counted,
    moment,
    next_generation,
    number,
    on_generation,
    on_golden,
    plural,
    share,
    signed,
    standing,
    wrong_raters,
)

BAR = 11
"""Columns of a bar."""

_INDENT = "  "
_SLICES_SHOWN = 12


def bar(row: Mapping[str, Any], reach: float) -> str:
    """An interval around no change, losses to the left: `●` the estimate, `│` zero.

    Args:
        row: with `change`, `low` and `high`, as fractions.
        reach: what the bar's ends stand for.

    >>> bar({"change": 0.1, "low": 0.0, "high": 0.2}, 0.2)
    '     ├─●──┤'
    """
    if row.get("change") is None or reach <= 0:
        return ""
    low, change, high = (_place(row[name], reach) for name in ("low", "change", "high"))
    cells = [" "] * BAR
    cells[BAR // 2] = "│"
    for place in range(low, high + 1):
        cells[place] = "─"
    cells[low], cells[high] = "├", "┤"
    cells[change] = "●"
    return "".join(cells)


def reach_of(rows: list[Mapping[str, Any]]) -> float:
    """The widest interval's end, so that all bars of a table have one scale."""
    ends = [abs(row[end]) for row in rows for end in ("low", "high") if row.get(end) is not None]
    return max(ends, default=0.0)


def _place(value: float, reach: float) -> int:
    middle = BAR // 2
    return max(0, min(BAR - 1, middle + round(middle * value / reach)))


_SLICES = (
    Column(title="slice", least=14),
    Column(title="before", right=True),
    Column(title="after", right=True),
    Column(title="n", right=True),
    Column(title="change", right=True),
    Column(title="interval"),
)


def slices(decision: Mapping[str, Any]) -> list[str]:
    """Every slice of the golden rows, the worst change first."""
    rows = decision.get("slices") or []
    if not rows:
        return []
    reach = reach_of(rows)
    cells = [
        [
            clean(row["slice"]),
            share(row["before"]),
            share(row["after"]),
            number(row["n"]),
            signed(row["change"]),
            bar(row, reach),
        ]
        for row in rows[:_SLICES_SHOWN]
    ]
    return [heading("Slices"), *table(_SLICES, cells, indent=_INDENT)]


def would(decision: Mapping[str, Any]) -> list[str]:
    """What promoting would do."""
    effect = decision.get("would")
    watched = prose(clean(decision.get("watched") or ""), _INDENT)
    return [heading("If approved"), *prose(clean(effect), _INDENT), *watched] if effect else []


def parity(decision: Mapping[str, Any]) -> list[str]:
    """What the server was asked of the challenger, and the first answer that differs."""
    pairs = parity_facts(decision)
    return [heading("Parity"), *facts(pairs, _INDENT)] if pairs else []


def parity_facts(decision: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The same as pairs; what it waits for while the decision is being applied."""
    if decision.get("status") == "applying":
        return [("waits", clean(decision.get("waits_for") or ""))]
    found = decision.get("parity")
    if not found:
        return []
    if found.get("refused"):
        return [("refused", f"the server could not load it: {clean(found['refused'])}")]
    asked = f"{plural(found['asked'], 'text')} asked of {clean(found['engine'] or 'the server')}"
    told = f"{number(found['differing'])} answered otherwise than evaluated"
    pairs = [("asked", f"{asked}, {told}")]
    if first := found.get("first"):
        pairs += [
            ("first", clean(first["text"] or f"{first['sample']}, whose text was erased")),
            ("evaluated", _answered(first["evaluated"])),
            ("served", _answered(first["served"]) if first.get("served") else "no answer"),
        ]
    return pairs


def _answered(answer: Mapping[str, Any]) -> str:
    sure = answer.get("confidence")
    confidence = "" if sure is None else f", confidence {sure:.4f}"
    return f"{clean(answer['intent'])} {clean(answer['arguments'])}{confidence}"


# The table of gates.

GATES = (
    Column(title="gate"),
    Column(title="verdict"),
    Column(title="effect", right=True),
    Column(title="at least", right=True),
    Column(title="value", right=True),
    Column(title="limit", right=True),
    Column(title="n", right=True),
    Column(title="labels", right=True),
)


def gate_cells(gate: Mapping[str, Any]) -> list[str]:
    """A gate's line, cell by cell, without its note."""
    return [
        clean(gate["gate"]),
        clean(gate["verdict"]),
        signed(gate.get("effect")),
        signed(gate.get("low")),
        number(gate.get("value")),
        number(gate.get("threshold")),
        number(gate.get("n") or None),
        number(gate.get("labels_needed") or None),
    ]


def legend(gates: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the column `value` measures, a sentence for each kind that occurs.

    >>> p_value = "p-value, which passes at or below its limit"
    >>> legend([{"gate": "overall", "value": 0.01, "measures": p_value}])
    ['The value of overall is a p-value, which passes at or below its limit.']
    """
    named: dict[str, list[str]] = {}
    for gate in gates:
        measure = gate.get("measures")
        if measure and gate.get("value") is not None:
            named.setdefault(clean(measure), []).append(clean(gate["gate"]))
    return [
        f"The value of {', '.join(names)} is {'an' if measure[0] == 'e' else 'a'} {measure}."
        for measure, names in named.items()
    ]


# The page.

Decision = Mapping[str, Any]

_INTENTS_SHOWN = 30
_EXAMPLES_SHOWN = 6


def page(decision: Decision, *, everything: bool = False) -> list[str]:
    """Return the page's lines.

    Args:
        decision: as `GET /v1/decisions/ID` gives it.
        everything: also the intents that did not move, and every example.
    """
    sections = [
        _top(decision),
        _gates(decision),
        _intents(decision, everything=everything),
        _examples(decision, "fixed", everything=everything),
        _examples(decision, "broken", everything=everything),
        slices(decision),
        _changed(decision, everything=everything),
        _training(decision, everything=everything),
        _lineage(decision),
        _wanted(decision),
        evidence_page.evidence(decision),
        _history(decision),
        parity(decision),
        would(decision),
        _next(decision),
    ]
    lines: list[str] = []
    for section in sections:
        if section:
            lines += [*([""] if lines else []), *section]
    return lines


def _top(decision: Decision) -> list[str]:
    because = clean(decision.get("because") or "-")
    summary = clean(decision.get("summary") or because)
    return [
        heading(f"{clean(decision['id'])}: {standing(decision)}"),
        *prose(summary),
        "",
        *facts(
            [
                ("challenger", clean(decision.get("challenger") or "-")),
                ("champion", clean(decision.get("champion") or "none yet")),
                *on_golden(decision),
                *_of_generation(decision),
                ("turn", clean(decision.get("turn") or "-")),
                ("decided", f"{moment(decision.get('at'))} by {clean(decision.get('by') or '-')}"),
                *([] if because.lower() in summary.lower() else [("because", because)]),
            ]
        ),
    ]


def _of_generation(decision: Decision) -> list[tuple[str, str]]:
    """What the golden generation of now has: rows that judge, rows that are learned, queries."""
    generation = decision.get("generation")
    if not generation:
        return []
    wanted = next_generation(generation)
    return [("golden now", on_generation(generation) + (f"; {wanted}" if wanted else ""))]


def _gates(decision: Decision) -> list[str]:
    gates = decision.get("gates") or []
    if not gates:
        return []
    rows = [gate_cells(gate) for gate in gates]
    notes = [clean(gate.get("detail") or "") for gate in gates]
    lines = [heading("Gates"), *table(GATES, rows, notes=notes, indent=_INDENT)]
    return lines + [line for sentence in legend(gates) for line in prose(sentence, _INDENT)]


_INTENTS = (
    Column(title="intent", least=14, names=True),
    Column(title="before", right=True),
    Column(title="after", right=True),
    Column(title="n", right=True),
    Column(title="lost/won", right=True),
    Column(title="verdict"),
    Column(title="labels", right=True, spare=1),
)


_CHANGE = Column(title="change")
_RECALLS = (_INTENTS[0], Column(title="right", right=True), Column(title="of", right=True))


def _intents(decision: Decision, *, everything: bool) -> list[str]:
    rows = sorted(decision.get("intents") or [], key=_interest)
    if not rows:
        return []
    pooled = evidence_page.pooled(decision)
    shown = rows if everything else [row for row in rows if _stands_out(row)][:_INTENTS_SHOWN]
    quiet = len(rows) - len(shown)
    lines = [heading("Intents")]
    if shown:
        if not decision.get("champion"):
            lines += table(_RECALLS, [_alone(row) for row in shown], indent=_INDENT)
        elif reach := reach_of(shown):
            cells = [[*_intent(row, pooled)[:-1], bar(row, reach)] for row in shown]
            lines += table((*_INTENTS[:-1], _CHANGE), cells, indent=_INDENT)
            ends = f"{100 * reach:.0f} points"
            lines.append(f"{_INDENT}change: the ends are a loss and a gain of {ends}")
        else:
            lines += table(_INTENTS, [_intent(row, pooled) for row in shown], indent=_INDENT)
    if quiet:
        more = "more " if shown else ""
        passed = "passed and did not move"
        if any(_stands_out(row) for row in rows[len(shown) :]):
            passed = "not shown"
        lines.append(f"{_INDENT}{plural(quiet, f'{more}intent')} {passed}; --all lists every one")
    return lines


def _stands_out(row: Mapping[str, Any]) -> bool:
    return bool(row["verdict"] != "PASS" or row["losses"] or row["gains"])


def _interest(row: Mapping[str, Any]) -> tuple[int, float, float, str]:
    """Sort key: failed, undecided, then by how much it moved, then the worst."""
    order = {"FAIL": 0, "INCONCLUSIVE": 1}.get(row["verdict"], 2)
    moved = abs(row["gains"] - row["losses"]) / max(1, row["n"])
    recall = row.get("challenger_recall")
    return order, -moved, 1.0 if recall is None else recall, row["intent"]


def _intent(row: Mapping[str, Any], pooled: Collection[str] = ()) -> list[str]:
    """An intent's line; the verdict of a pooled one is its pool's, and says so."""
    return [
        clean(row["intent"]),
        share(row.get("champion_recall")),
        share(row.get("challenger_recall")),
        number(row["n"]),
        f"{row['losses']}/{row['gains']}",
        clean(row["verdict"]) + (" (pool)" if row["intent"] in pooled else ""),
        number(row.get("labels_needed") or None),
    ]


def _alone(row: Mapping[str, Any]) -> list[str]:
    """The first champion's line: there was nothing to compare it with."""
    recall, rows = share(row.get("challenger_recall")), number(row.get("rows"))
    return [clean(row["intent"]), recall, rows]


def _examples(decision: Decision, kind: str, *, everything: bool) -> list[str]:
    """What the challenger gets right that the champion got wrong (`fixed`), or the reverse."""
    rows: Sequence[Mapping[str, Any]] = decision.get(kind) or []
    if not rows:
        return []
    shown = rows if everything else rows[:_EXAMPLES_SHOWN]
    heads = (
        Column(title="text", least=20),
        Column(title="right" if kind == "broken" else "before", least=12),
        Column(title="after", least=12),
    )
    cells = [
        [
            clean(row["text"]),
            clean(row["intent"] if kind == "broken" else row.get("before") or "-"),
            clean(row.get("after") or "-"),
        ]
        for row in shown
    ]
    count = f"{len(rows):,}" if len(shown) == len(rows) else f"{len(shown)} of {len(rows):,}"
    return [heading(f"Examples {kind} ({count})"), *table(heads, cells, indent=_INDENT)]


_WORDINGS = (
    Column(title="new wording", least=14),
    Column(title="intent", least=12),
    Column(title="raters", right=True),
    Column(title="texts", right=True),
    Column(title="turned", right=True),
)
_SUSPECTS_SHOWN = 5


def _changed(decision: Decision, *, everything: bool) -> list[str]:
    """What few raters taught, the texts that it turned, and who taught what is new."""
    changed = decision.get("changed") or {}
    rows: Sequence[Mapping[str, Any]] = changed.get("wordings") or []
    taught = changed.get("taught") or {}
    if not rows and not taught:
        return []
    lines = [heading("Changed answers")]
    if changed.get("recent"):
        moved = counted(changed.get("moved") or {})
        pairs = [("recent texts", f"{changed['recent']:,}"), ("answered otherwise", moved)]
        lines += facts(pairs, _INDENT)
    shown = rows if everything else rows[:_SUSPECTS_SHOWN]
    notes = ["; ".join(map(clean, row.get("examples") or ())) for row in shown]
    if shown:
        lines += table(
            _WORDINGS, [wording_cells(row) for row in shown], notes=notes, indent=_INDENT
        )
    few = sorted(taught.items(), key=lambda item: (-item[1]["largest"], item[0]))
    by = [(clean(intent), taught_by(row)) for intent, row in few]
    return lines + facts(by if everything else by[:_SUSPECTS_SHOWN], _INDENT)


def wording_cells(row: Mapping[str, Any]) -> list[str]:
    """A wording, its intent, raters, texts, and how many of the asked texts it turned."""
    return [
        clean(row.get("wording") or "-"),
        clean(row["intent"]),
        number(row["voices"]),
        number(row["texts"]),
        f"{row['turned']}/{row['asked']}",
    ]


def taught_by(row: Mapping[str, Any]) -> str:
    """How many raters gave an intent's new texts, and the share of the busiest."""
    who = plural(row["voices"], "rater")
    return f"{plural(row['texts'], 'new text')} by {who}, {share(row['largest'])} by one of them"


def _training(decision: Decision, *, everything: bool) -> list[str]:
    training = decision.get("training") or {}
    if not training:
        return []
    pairs = [("by origin", counted(training.get("by_origin") or {}))]
    refused = training.get("refused") or {}
    if training.get("added_by_intent"):
        pairs.append(("added", counted(training["added_by_intent"])))
    if training.get("by_rater"):
        pairs.append(("labelled by", counted(training["by_rater"])))
    if often := wrong_raters(training.get("raters") or {}):
        pairs.append(("often wrong", often))
    if training.get("cost_usd"):
        pairs.append(("cost", f"${training['cost_usd']:.2f}"))
    pairs.append(("refused", counted({str(k).replace("_", " "): v for k, v in refused.items()})))
    lines = [heading("Training data"), *facts(pairs, _INDENT)]
    return lines + _added(training, everything=everything)


def _added(training: Mapping[str, Any], *, everything: bool) -> list[str]:
    """Some of the samples that the champion was not trained on."""
    added: Sequence[Mapping[str, Any]] = training.get("added") or []
    if not added:
        return []
    shown = added if everything else added[:_EXAMPLES_SHOWN]
    heads = [
        Column(title="added", least=20),
        Column(title="intent", least=12),
        Column(title="origin"),
    ]
    cells = [[clean(row["text"]), clean(row["intent"]), clean(row["origin"])] for row in shown]
    if any(row.get("from") for row in shown):
        heads.append(Column(title="from", least=10))
        cells = [[*c, clean(r.get("from") or "-")] for c, r in zip(cells, shown, strict=True)]
    lines = ["", *table(heads, cells, indent=_INDENT)]
    total = max(int(training.get("added_total") or 0), len(added))
    if total > len(shown):
        seen = "--all lists more" if len(added) > len(shown) else "not shown"
        lines.append(f"{_INDENT}{plural(total - len(shown), 'more sample')}; {seen}")
    return lines


def _lineage(decision: Decision) -> list[str]:
    rests_on = decision.get("rests_on") or {}
    if not rests_on:
        return []
    pairs = [(clean(key).replace("_", " "), clean(value or "-")) for key, value in rests_on.items()]
    return [heading("Rests on"), *facts(pairs, _INDENT)]


def _wanted(decision: Decision) -> list[str]:
    wanted = decision.get("labels_wanted") or {}
    if not wanted:
        return []
    return [heading("Labels wanted"), *prose(counted(wanted), _INDENT)]


def _history(decision: Decision) -> list[str]:
    events = decision.get("events") or []
    if not events:
        return []
    pairs, shown = [], set()
    for event in events:
        reason = event.get("because")
        because = f": {clean(reason)}" if reason and reason not in shown else ""
        shown.add(reason)
        what = f"{clean(event.get('what') or '-')} by {clean(event.get('by') or '-')}"
        pairs.append((moment(event.get("at")), what + because))
    return [heading("What happened"), *facts(pairs, _INDENT)]


def _next(decision: Decision) -> list[str]:
    """The commands that would work now, as the daemon offers them."""
    name = clean(decision["id"])
    steps: list[str] = []
    for offer in decision.get("offers") or []:
        named = "".join(f" --override {clean(gate)}" for gate in offer.get("override") or ())
        named += f" --looked {clean(offer['looked'])}" if offer.get("looked") else ""
        steps += {
            "label": ["flywheel samples label", "flywheel samples import FILE --split golden"],
            "approve": [f'flywheel review approve {name}{named} --because "…"'],
            "reject": [f'flywheel review reject {name} --because "…"'],
            "rollback": ['flywheel adapters rollback --because "…"'],
            "turn": ["flywheel turn start --wait"],
        }.get(offer["do"], [])
    if not steps:
        return []
    return [heading("Next"), *(_INDENT + step for step in steps), *evidence_page.on_trust(decision)]
