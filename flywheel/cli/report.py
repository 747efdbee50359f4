"""A decision as a document that can be mailed: Markdown, or one HTML file with its plots.

Self-contained: no script, nothing is fetched. What came from outside is cleaned and escaped; for
HTML by the template, `report.html`. Plots are SVG in user units (pixels), with classes instead of
style attributes, so that the policy admits one style sheet and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from flywheel.cli.decision_page import (
    GATES,
    gate_cells,
    legend,
    parity_facts,
    taught_by,
    wording_cells,
)
from flywheel.cli.text import (
    clean,
    counted,
    cut,
    moment,
    number,
    on_golden,
    share,
    signed,
    standing,
    wrong_raters,
)

Table = tuple[tuple[str, ...], list[list[str]]]


def markdown(decision: Mapping[str, Any]) -> str:
    """The whole decision as Markdown."""
    lines = [f"# {_title(decision)}", "", _md(clean(decision.get("summary") or "")), ""]
    for name, (heads, rows) in _tables(decision):
        if rows:
            lines += [f"## {name}", "", _md_row(heads), _md_row(["---"] * len(heads))]
            lines += [_md_row([_md(cell) for cell in row]) for row in rows] + [""]
        if rows and (below := _below(name, decision)):
            lines += [_md(below), ""]
    return "\n".join(lines)


def html(decision: Mapping[str, Any]) -> str:
    """The whole decision as one HTML document with its plots."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # not for every command
    from markupsafe import Markup

    style = files("flywheel.cli").joinpath("report.css").read_text(encoding="utf-8")
    seal = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    templates = Environment(
        loader=PackageLoader("flywheel.cli", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["any"] = any
    return templates.get_template("report.html").render(
        policy=f"default-src 'none'; style-src 'sha256-{seal}'; "
        "base-uri 'none'; form-action 'none'",
        style=Markup(style),  # noqa: S704  our own file, whose hash the policy names
        title=_title(decision),
        summary=clean(decision.get("summary") or ""),
        sections=list(_sections(decision)),
    )


def _sections(decision: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What has rows or a plot: the tables in their order, then plots without a table."""
    plots = {
        "Intents": forest(_moved(decision)),
        "Calibration": calibration(decision.get("calibration") or {}),
        "Confusions": confusions(decision.get("confusions") or []),
    }
    for name, (heads, rows) in _tables(decision):
        plot = plots.pop(name, None)
        if rows or plot:
            below = _below(name, decision) if rows else ""
            yield {"name": name, "plot": plot, "heads": heads, "rows": rows, "below": below}
    for name, plot in plots.items():
        if plot:
            yield {"name": name, "plot": plot, "heads": (), "rows": [], "below": ""}


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
        ("Changed answers", _changed(decision)),
        ("New texts by intent", _taught(decision)),
        ("Training data", _pairs(learned if training else [])),
        ("Added samples", _added(training)),
        ("Rests on", _pairs(list((decision.get("rests_on") or {}).items()))),
        ("What happened", _events(decision)),
        ("Parity", _pairs(parity_facts(decision))),
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


def _changed(decision: Mapping[str, Any]) -> Table:
    """What few raters taught, with the other texts that it turned."""
    changed = decision.get("changed") or {}
    rows = [
        [*wording_cells(row), "; ".join(map(clean, row.get("examples") or ()))]
        for row in changed.get("wordings") or []
    ]
    return ("new wording", "intent", "raters", "texts", "turned", "turned texts"), rows


def _taught(decision: Mapping[str, Any]) -> Table:
    """Who taught what is new of each intent, the most one-sided first."""
    taught = (decision.get("changed") or {}).get("taught") or {}
    few = sorted(taught.items(), key=lambda item: (-item[1]["largest"], item[0]))
    return ("", ""), [[clean(intent), taught_by(row)] for intent, row in few]


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


def _md_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _md(text: str) -> str:
    """Text that Markdown and the HTML in it leave alone."""
    for mark in ("\\", "|", "`", "*", "_", "[", "]"):
        text = text.replace(mark, f"\\{mark}")
    return escape(text, quote=False)


# Plots.

_ROW = 20
_LEFT, _WIDTH = 220, 360
_SIDE = 260

Shape = tuple[str, Mapping[str, object], str]
"""An SVG element: tag, attributes, text."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing; sizes in pixels."""

    width: int
    height: int
    title: str
    shapes: Sequence[Shape]


def forest(rows: Sequence[Mapping[str, Any]]) -> Plot | None:
    """One line an intent: the change of its recall with the 95 % interval, zero in the middle."""
    drawn = [row for row in rows if row.get("change") is not None]
    if not drawn:
        return None
    reach = max(max(abs(row["low"]), abs(row["high"])) for row in drawn) or 1.0
    height = _ROW * (len(drawn) + 2)
    middle = _LEFT + _WIDTH / 2
    shapes = [_line("zero", middle, 0, middle, height - _ROW)]
    for place, row in enumerate(drawn):
        y = _ROW * place + _ROW / 2
        low, at, high = (middle + _WIDTH / 2 * row[k] / reach for k in ("low", "change", "high"))
        shapes += [
            _text("name", _LEFT - 8, y + 4, _short(row["intent"])),
            _line("interval", low, y, high, y),
            _dot(str(row.get("verdict", "")), at, y, 4),
        ]
    for x, value in ((_LEFT, -reach), (middle, 0.0), (_LEFT + _WIDTH, reach)):
        shapes.append(_text("tick", x, height - _ROW / 2, f"{100 * value:+.0f}"))
    return Plot(_LEFT + _WIDTH + 40, height, "change of recall by intent, points", shapes)


def calibration(bins: Mapping[str, Sequence[Mapping[str, Any]]]) -> Plot | None:
    """Accuracy over confidence for both models; the diagonal is honest confidence."""
    if not any(bins.values()):
        return None
    size, edge = _SIDE, 30
    shapes = [_line("zero", edge, size, edge + size, 0)]
    for model, members in bins.items():
        places = [
            (edge + size * each["confidence"], size - size * each["accuracy"]) for each in members
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        shapes.append(("polyline", {"class": model, "points": line}, ""))
        shapes += [_dot(model, x, y, 3) for x, y in places]
    shapes += [
        _text("tick", edge, size + 18, "0"),
        _text("tick", edge + size, size + 18, "confidence 1"),
    ]
    return Plot(size + 2 * edge + 60, size + edge, "accuracy over confidence", shapes)


def confusions(rows: Sequence[Mapping[str, Any]]) -> Plot | None:
    """How often each wrong answer was given, before (above) and after (below)."""
    if not rows:
        return None
    most = max(max(row["before"], row["after"]) for row in rows) or 1
    shapes: list[Shape] = []
    for place, row in enumerate(rows):
        y = 2 * _ROW * place
        name = _short(f"{row['intent']} → {row['answer']}")
        shapes.append(_text("name", _LEFT - 8, y + 22, name))
        for offset, model, key in ((4, "champion", "before"), (20, "challenger", "after")):
            width = _WIDTH * row[key] / most
            bar = {"class": model, "x": _LEFT, "y": y + offset, "width": f"{width:.1f}"}
            shapes += [
                ("rect", bar | {"height": 13}, ""),
                _text("count", _LEFT + width + 4, y + offset + 11, str(row[key])),
            ]
    height = 2 * _ROW * len(rows) + 8
    return Plot(_LEFT + _WIDTH + 40, height, "wrong answers before and after", shapes)


def _text(kind: str, x: float, y: float, text: str) -> Shape:
    return "text", {"class": kind, "x": f"{x:.1f}", "y": f"{y:.1f}"}, text


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Shape:
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return "line", {"class": kind} | {name: f"{value:.1f}" for name, value in ends.items()}, ""


def _dot(kind: str, x: float, y: float, radius: int) -> Shape:
    return "circle", {"class": kind, "cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": radius}, ""


def _short(text: object) -> str:
    return cut(clean(text), 34)
