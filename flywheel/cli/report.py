"""A decision as a document that can be mailed: Markdown, or one HTML file with its plots.

Self-contained: no script, nothing is fetched. What came from outside is cleaned and escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from flywheel.cli.decision_page import GATES, gate_cells, legend
from flywheel.cli.text import (
    clean,
    counted,
    moment,
    number,
    on_golden,
    share,
    signed,
    standing,
    wrong_raters,
)

# Plots of a decision as SVG text: no script, no style attribute, everything escaped.

_ROW = 20
_LEFT, _WIDTH = 220, 360
_SIDE = 260


def forest(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line an intent: the change of its recall with the 95 % interval, zero in the middle."""
    drawn = [row for row in rows if row.get("change") is not None]
    if not drawn:
        return ""
    reach = max(max(abs(row["low"]), abs(row["high"])) for row in drawn) or 1.0
    height = _ROW * (len(drawn) + 2)
    middle = _LEFT + _WIDTH / 2
    parts = [f'<line class="zero" x1="{middle}" y1="0" x2="{middle}" y2="{height - _ROW}"/>']
    for place, row in enumerate(drawn):
        y = _ROW * place + _ROW / 2
        low, at, high = (middle + _WIDTH / 2 * row[k] / reach for k in ("low", "change", "high"))
        kind = escape(str(row.get("verdict", "")))
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 4}" class="name">{_short(row["intent"])}</text>',
            f'<line class="interval" x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}"/>',
            f'<circle class="{kind}" cx="{at:.1f}" cy="{y}" r="4"/>',
        ]
    y = height - _ROW / 2
    for x, value in ((_LEFT, -reach), (middle, 0.0), (_LEFT + _WIDTH, reach)):
        parts.append(f'<text x="{x}" y="{y}" class="tick">{100 * value:+.0f}</text>')
    return _svg(_LEFT + _WIDTH + 40, height, "change of recall by intent, points", parts)


def calibration(bins: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Accuracy over confidence for both models; the diagonal is honest confidence."""
    if not any(bins.values()):
        return ""
    size, edge = _SIDE, 30
    parts = [f'<line class="zero" x1="{edge}" y1="{size}" x2="{edge + size}" y2="0"/>']
    for model, members in bins.items():
        places = [
            (edge + size * each["confidence"], size - size * each["accuracy"]) for each in members
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="{escape(model)}" points="{line}"/>')
        parts += [
            f'<circle class="{escape(model)}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places
        ]
    parts += [
        f'<text x="{edge}" y="{size + 18}" class="tick">0</text>',
        f'<text x="{edge + size}" y="{size + 18}" class="tick">confidence 1</text>',
    ]
    return _svg(size + 2 * edge + 60, size + edge, "accuracy over confidence", parts)


def confusions(rows: Sequence[Mapping[str, Any]]) -> str:
    """How often each wrong answer was given, before (above) and after (below)."""
    if not rows:
        return ""
    most = max(max(row["before"], row["after"]) for row in rows) or 1
    parts = []
    for place, row in enumerate(rows):
        y = 2 * _ROW * place
        name = _short(f"{row['intent']} → {row['answer']}")
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 22}" class="name">{name}</text>')
        for offset, model, key in ((4, "champion", "before"), (20, "challenger", "after")):
            width = _WIDTH * row[key] / most
            parts += [
                f'<rect class="{model}" x="{_LEFT}" y="{y + offset}" width="{width:.1f}" '
                f'height="13"/>',
                f'<text x="{_LEFT + width + 4:.1f}" y="{y + offset + 11}" class="count">'
                f"{row[key]}</text>",
            ]
    height = 2 * _ROW * len(rows) + 8
    return _svg(_LEFT + _WIDTH + 40, height, "wrong answers before and after", parts)


def _short(text: object) -> str:
    shown = str(text)
    return escape(shown if len(shown) <= 34 else f"{shown[:33]}…")


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img"><title>{escape(title)}</title>'
        f"{''.join(parts)}</svg>"
    )


Table = tuple[tuple[str, ...], list[list[str]]]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
td, th { border-bottom: 1px solid #ccc; padding: .2rem .7rem .2rem 0; text-align: left; }
td { vertical-align: top; }
svg { display: block; margin: .5rem 0 1.5rem; max-width: 100%; font: 12px system-ui, sans-serif; }
.name { text-anchor: end; } .tick { text-anchor: middle; fill: #666; } .count { fill: #444; }
.zero { stroke: #aaa; } .interval { stroke: #456; stroke-width: 2; }
circle.PASS { fill: #287d3c; } circle.FAIL { fill: #b3261e; }
circle.INCONCLUSIVE { fill: #c98a00; }
rect.champion, circle.champion { fill: #9aa7b5; }
rect.challenger, circle.challenger { fill: #2764a8; }
polyline { fill: none; stroke-width: 2; }
polyline.champion { stroke: #9aa7b5; } polyline.challenger { stroke: #2764a8; }
"""


def markdown(decision: Mapping[str, Any]) -> str:
    """The whole decision as Markdown."""
    lines = [f"# {_title(decision)}", "", _md(clean(decision.get("summary") or "")), ""]
    for name, (heads, rows) in _tables(decision):
        if rows:
            lines += [f"## {name}", "", _md_row(heads), _md_row(["---"] * len(heads))]
            lines += [_md_row([_md(cell) for cell in row]) for row in rows] + [""]
        if rows and (said := _below(name, decision)):
            lines += [_md(said), ""]
    return "\n".join(lines)


def html(decision: Mapping[str, Any]) -> str:
    """The whole decision as one HTML document with its plots."""
    sealed = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{sealed}'; base-uri 'none'; form-action 'none'"
    drawn = {
        "Intents": forest(_moved(decision)),
        "Calibration": calibration(decision.get("calibration") or {}),
        "Confusions": confusions(decision.get("confusions") or []),
    }
    body = [f"<h1>{escape(_title(decision))}</h1>"]
    body.append(f"<p>{escape(clean(decision.get('summary') or ''))}</p>")
    for name, (heads, rows) in _tables(decision):
        plot = drawn.pop(name, "")
        if rows or plot:
            body.append(f"<h2>{escape(name)}</h2>{plot}{_html_table(heads, rows)}")
        if rows and (said := _below(name, decision)):
            body.append(f"<p>{escape(said)}</p>")
    body += [f"<h2>{escape(name)}</h2>{plot}" for name, plot in drawn.items() if plot]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        f"<title>{escape(_title(decision))}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _title(decision: Mapping[str, Any]) -> str:
    return f"{clean(decision['id'])}: {standing(decision)}"


def _tables(decision: Mapping[str, Any]) -> list[tuple[str, Table]]:
    facts = [
        ("challenger", decision.get("challenger")),
        ("champion", decision.get("champion") or "none yet"),
        *on_golden(decision),
        ("turn", decision.get("turn") or "-"),
        ("decided", f"{moment(decision.get('at'))} by {decision.get('by') or '-'}"),
        ("because", decision.get("because") or "-"),
        *([("if approved", decision["would"])] if decision.get("would") else []),
    ]
    training = decision.get("training") or {}
    learned = [
        ("by origin", counted(training.get("by_origin") or {})),
        ("labelled by", counted(training.get("by_rater") or {})),
        ("often wrong", wrong_raters(training.get("raters") or {})),
        ("added", counted(training.get("added_by_intent") or {})),
        ("refused", counted(training.get("refused") or {})),
        ("cost", f"${float(training.get('cost_usd') or 0):.2f}"),
    ]
    return [
        ("Decision", _pairs(facts)),
        ("Gates", _gates(decision)),
        ("Intents", _intents(decision)),
        ("Broken", _examples(decision.get("broken") or [])),
        ("Fixed", _examples(decision.get("fixed") or [])),
        ("Slices", _slices(decision)),
        ("Training data", _pairs(learned if training else [])),
        ("Added samples", _added(training)),
        ("Rests on", _pairs(list((decision.get("rests_on") or {}).items()))),
        ("What happened", _events(decision)),
    ]


def _below(name: str, decision: Mapping[str, Any]) -> str:
    """What is said below a table, so that its figures can be read; "" for most."""
    return " ".join(legend(decision.get("gates") or [])) if name == "Gates" else ""


def _pairs(pairs: Sequence[tuple[str, Any]]) -> Table:
    rows = [[clean(name).replace("_", " "), clean(value or "-")] for name, value in pairs]
    return ("", ""), rows


def _gates(decision: Mapping[str, Any]) -> Table:
    rows = [
        [*gate_cells(gate), clean(gate.get("detail") or "")] for gate in decision.get("gates") or []
    ]
    return (*(column.title for column in GATES), ""), rows


def _moved(decision: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The intents that moved or are not through, the worst first."""
    rows = [
        row
        for row in decision.get("intents") or []
        if row["verdict"] != "PASS" or row["losses"] or row["gains"]
    ]
    return sorted(rows, key=lambda row: (row.get("change") or 0.0, row["intent"]))


def _intents(decision: Mapping[str, Any]) -> Table:
    if not decision.get("champion"):
        alone = sorted(
            decision.get("intents") or [],
            key=lambda row: (row.get("challenger_recall") or 0.0, row["intent"]),
        )
        return ("intent", "right", "of"), [
            [clean(row["intent"]), share(row.get("challenger_recall")), number(row.get("rows"))]
            for row in alone
        ]
    heads = ("intent", "before", "after", "change", "interval", "n", "lost/won", "verdict")
    rows = [
        [
            clean(row["intent"]),
            share(row.get("champion_recall")),
            share(row.get("challenger_recall")),
            signed(row.get("change")),
            f"{signed(row.get('low'))} to {signed(row.get('high'))}",
            number(row["n"]),
            f"{row['losses']}/{row['gains']}",
            clean(row["verdict"]),
        ]
        for row in _moved(decision)
    ]
    return heads, rows


def _examples(rows: Sequence[Mapping[str, Any]]) -> Table:
    cells = [
        [
            clean(row["text"]),
            clean(row["intent"]),
            clean(row.get("before") or "-"),
            clean(row.get("after") or "-"),
        ]
        for row in rows
    ]
    return ("text", "right", "before", "after"), cells


def _slices(decision: Mapping[str, Any]) -> Table:
    rows = [
        [
            clean(row["slice"]),
            share(row["before"]),
            share(row["after"]),
            signed(row["change"]),
            number(row["n"]),
        ]
        for row in decision.get("slices") or []
    ]
    return ("slice", "before", "after", "change", "n"), rows


def _added(training: Mapping[str, Any]) -> Table:
    rows = [
        [clean(row["text"]), clean(row["intent"]), clean(row["origin"])]
        for row in training.get("added") or []
    ]
    return ("text", "intent", "origin"), rows


def _events(decision: Mapping[str, Any]) -> Table:
    rows = [
        [
            moment(each.get("at")),
            *(clean(each.get(key) or "-") for key in ("what", "by", "because")),
        ]
        for each in decision.get("events") or []
    ]
    return ("at", "what", "by", "because"), rows


def _html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    top = "".join(f"<th>{escape(head)}</th>" for head in heads) if any(heads) else ""
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>" if top else f"<table>{body}</table>"


def _md_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _md(text: str) -> str:
    """Text that Markdown and the HTML in it leave alone."""
    for mark in ("\\", "|", "`", "*", "_", "[", "]"):
        text = text.replace(mark, f"\\{mark}")
    return escape(text, quote=False)
