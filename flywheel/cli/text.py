"""How words, numbers and times are put on a screen.

Pure: text in, text out. Everything that came from production, a teacher or a file goes through
`clean` before it is shown, so that no text can move the cursor or repaint the terminal.
Times are shown in UTC, `2026-11-22 05:17 UTC`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

# C0 and C1 controls, DEL, line and paragraph separators, marks that reorder text, lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_ELLIPSIS = "…"


def clean(value: object) -> str:
    r"""Return `value` as text in which control characters are spelled out.

    >>> clean("play\x1b[2J music")
    'play\\x1b[2J music'
    """
    return _UNSAFE.sub(_spell_out, str(value))


def _spell_out(match: re.Match[str]) -> str:
    code = ord(match.group())
    if match.group() in "\n\r\t":
        return {"\n": r"\n", "\r": r"\r", "\t": r"\t"}[match.group()]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def width(text: str) -> int:
    """Columns that `text` takes on a terminal: 2 for a wide character, 0 for a combining one."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """Fill `text` with spaces up to `columns`; `right` puts the text at the right edge."""
    gap = " " * max(0, columns - width(text))
    return gap + text if right else text + gap


def cut(text: str, columns: int) -> str:
    """Return `text`, or its beginning and `…` where it takes more than `columns`."""
    if width(text) <= columns:
        return text
    kept = ""
    for character in text:
        if width(kept) + _columns(character) > columns - 1:
            break
        kept += character
    return kept + _ELLIPSIS


def wrap(text: str, columns: int) -> list[str]:
    """Break `text` into lines of at most `columns`, between words where there is a space."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if width(joined) <= columns:
            line = joined
            continue
        if line:
            lines.append(line)
        *full, line = _pieces(word, columns)
        lines += full
    return [*lines, line] if line or not lines else lines


def _pieces(word: str, columns: int) -> list[str]:
    """Break one word; scripts without spaces and long ids have no better place."""
    pieces = [""]
    for character in word:
        if pieces[-1] and width(pieces[-1]) + _columns(character) > columns:
            pieces.append("")
        pieces[-1] += character
    return pieces


def moment(value: object) -> str:
    """An ISO 8601 time as `2026-11-22 05:17 UTC`; `-` when there is none."""
    if not value:
        return "-"
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return clean(value)
    return (at.astimezone(UTC) if at.tzinfo else at).strftime("%Y-%m-%d %H:%M UTC")


def span(seconds: float) -> str:
    """A duration in its two largest units: `48 s`, `3 min 20 s`, `2 h 5 min`, `4 d 1 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, below, smaller in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def number(value: object, digits: int = 3) -> str:
    """A count with separators, a statistic with `digits` significant figures, `-` for none."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return clean(value)
    if isinstance(value, int):
        return f"{value:,}"
    if value and abs(value) >= 10_000:
        return f"{value:.1e}"
    return f"{value:.{digits}g}"


def signed(value: float | None) -> str:
    """A difference of fractions in points: `+4.2 pt`; `-` for none."""
    return "-" if value is None else f"{100 * value:+.1f} pt"


def share(value: float | None) -> str:
    """A fraction in per cent: `12.3 %`; `-` for none."""
    return "-" if value is None else f"{100 * value:.1f} %"


def plural(count: int, word: str, words: str = "") -> str:
    """`1 turn`, `1,204 turns`."""
    return f"{count:,} {word if count == 1 else words or word + 's'}"


def counted(counts: Mapping[str, Any]) -> str:
    """`set_alarm 21, play_music 11`, the largest first; `-` for none."""
    ordered = sorted(counts.items(), key=lambda item: (-float(item[1]), item[0]))
    return ", ".join(f"{clean(name)} {number(count)}" for name, count in ordered) or "-"


def standing(decision: Mapping[str, Any]) -> str:
    """What a decision is and what became of it: `held, waits for a person`.

    >>> standing({"verdict": "hold", "status": "applied", "by": "mira"})
    'held, then approved by mira'
    """
    verdict, status = str(decision["verdict"]), str(decision["status"])
    by = f" by {clean(decision['by'])}" if decision.get("by") else ""
    waits = "labels" if decision.get("waits_for") == "labels" else "a person"
    known = {
        ("hold", "pending"): f"held, waits for {waits}",
        ("hold", "applied"): f"held, then approved{by}",
        ("hold", "rejected"): f"held, then rejected{by}",
        ("hold", "expired"): "held, expired undecided",
        ("promote", "pending"): "passed the gates, waits for a person",
        ("promote", "applied"): f"promoted{by}",
        ("promote", "rejected"): f"passed the gates, then rejected{by}",
        ("promote", "expired"): "passed the gates, expired undecided",
        ("reject", "rejected"): f"rejected{by}",
        ("reject", "pending"): "rejected by the gates, approved by one person, waits for another",
        ("reject", "expired"): "rejected by the gates, approved by one person, expired",
        ("reject", "applied"): f"rejected by the gates, then approved{by}",
        ("rollback", "applied"): f"rolled back{by}",
        ("rollback", "applying"): f"rollback{by}, being applied",
        ("promote", "applying"): "promoted, being applied",
        ("hold", "applying"): f"held, approved{by}, being applied",
        ("reject", "applying"): f"rejected by the gates, approved{by}, being applied",
    }
    if status == "parity_failed":
        return "not put into service: parity failed"
    return known.get((verdict, status), f"{clean(verdict)}, {clean(status)}")


def on_golden(decision: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Accuracy of both models on the golden rows, as a line of facts; none where nobody asked."""
    golden = decision.get("golden") or {}
    after, before = golden.get("challenger") or {}, golden.get("champion") or {}
    if not after.get("n"):
        return []
    told = f"{share(after['right'])} right of {plural(int(after['n']), 'row')}"
    if before.get("n"):
        told += f"; the champion {share(before['right'])} of {number(before['n'])}"
    return [("on golden", told)]


_RETIRED = {
    "share": "at import",
    "near": "near those",
    "judged": "having judged often enough",
    "bought": "bought, and judged",
    "worn": "worn",
    "earlier": "of earlier generations",
}


def on_generation(generation: Mapping[str, Any]) -> str:
    """How many golden rows judge, how many are learned and why, and what is left of them.

    >>> on_generation({"number": 2, "judging": 19, "learned": {"share": 11}, "worn": 0,
    ... "queries_left": 30})
    'generation 2: 19 rows judge, 11 are learned (11 at import); 30 queries left'
    """
    by_rule = dict(generation.get("learned") or {})
    if generation.get("worn"):
        by_rule["earlier"] = int(generation["worn"])
    told = f"generation {number(generation['number'])}: {plural(generation['judging'], 'row')} "
    told += "judge" if generation["judging"] != 1 else "judges"
    if by_rule:
        named = {**_RETIRED, "earlier": "of earlier generations"}
        why = ", ".join(
            f"{number(count)} {named.get(rule, rule)}" for rule, count in by_rule.items()
        )
        total = sum(by_rule.values())
        told += f", {number(total)} {'is' if total == 1 else 'are'} learned ({clean(why)})"
    return f"{told}; {plural(generation['queries_left'], 'query', 'queries')} left"


def next_generation(generation: Mapping[str, Any]) -> str:
    """What to import next, by when, in a sentence's part; "" while it is not time.

    >>> next_generation({"next": {"due": True, "rows": 80, "each": {"a": 40, "b": 40},
    ... "by": "2026-12-24T05:17:00+00:00"}})
    'import 80 rows (40 each of 2 intents) by 2026-12-24'
    """
    wanted = generation["next"]
    if not wanted["due"] or not wanted["rows"]:
        return ""
    sizes: dict[int, list[str]] = {}
    for name, count in wanted["each"].items():
        sizes.setdefault(int(count), []).append(name)
    parts = [
        f"{number(count)} each of {plural(len(names), 'intent')}"
        if len(names) > 1
        else f"{number(count)} of {clean(names[0])}"
        for count, names in sorted(sizes.items())
    ]
    by = f" by {clean(str(wanted['by'])[:10])}" if wanted["by"] else ""
    return f"import {plural(wanted['rows'], 'row')} ({', '.join(parts)}){by}"


def wrong_raters(raters: Mapping[str, Any]) -> str:
    """Return who is shown to err more often than most, "" for nobody:
    `u-7 62 % (46–75 %) of 40 labels; usual 4 %`.
    """
    doubted = raters.get("doubted") or []
    if not doubted:
        return ""
    named = ", ".join(
        f"{clean(each['rater'])} {share(each['wrong'])}{_interval(each)}"
        f" of {plural(int(each['votes']), 'label')}"
        for each in doubted
    )
    return f"{named}; usual {share(raters.get('usual'))}"


def _interval(rate: Mapping[str, Any]) -> str:
    if rate.get("low") is None:
        return ""
    return f" ({100 * rate['low']:.0f}–{100 * rate['high']:.0f} %)"
