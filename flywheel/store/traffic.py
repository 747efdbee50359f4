"""What recent predictions look like in sum: how many, of which intents, in which letters.

No text leaves this module, only counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb

from flywheel.store.columns import Connection, records, scalar, stamp
from flywheel.store.db_errors import lost

RECENT = 1_000  # predictions
_LOOKED_AT = 1_000  # characters of a text

_PREDICTIONS = """
    SELECT intent, left(text, ?), {answers} FROM predictions AS p {standing}
    ORDER BY ts DESC, id LIMIT ? OFFSET ?
"""
_STANDING = "ANTI JOIN superseded AS s ON s.prediction_id = p.id"
_KNOWS_EXCHANGES = "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'superseded'"
_KNOWS_ANSWERS = """
    SELECT count(*) FROM duckdb_columns()
    WHERE table_name = 'predictions' AND column_name = 'answers'
"""
_COSTS = """
    SELECT adapter, round(sum(cost_usd), 9) AS usd, sum(answers)::BIGINT AS answers
    FROM standing_predictions() WHERE ts >= ? AND cost_usd IS NOT NULL
    GROUP BY adapter ORDER BY usd DESC, adapter
"""


# One answer a key, drawn by lot; of the keys, so many by another lot each week.
_ONE_A_KEY = """
    SELECT text, intent, confidence FROM (
        SELECT text, intent, confidence,
            md5($since || coalesce(nullif(rater, ''), nullif(session, ''), id)) AS lot,
            row_number() OVER (
                PARTITION BY coalesce(nullif(rater, ''), nullif(session, ''), id)
                ORDER BY md5('drift:' || id), id
            ) AS place
        FROM standing_predictions()
        WHERE ts >= $since::TIMESTAMP AND ts < $until::TIMESTAMP
            AND ($adapter IS NULL OR adapter = $adapter)
    )
    WHERE place = 1 ORDER BY lot LIMIT $most
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The newest predictions, and the share of `none` among those before them."""

    n: int = 0  # answers that they stand for
    intents: Mapping[str, int] = field(default_factory=dict)  # of these, by intent
    letters: Mapping[str, int] = field(default_factory=dict)  # other than ASCII, by occurrences
    earlier: Mapping[str, int] = field(default_factory=dict)  # by intent, of as many before


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficCost:
    """What the answers of one adapter cost, as far as it is known."""

    adapter: str
    usd: float
    answers: int  # whose cost that is


def counted(rows: Iterable[tuple[str, str, int]]) -> Traffic:
    """Return the counts of predictions given as (intent, text, answers)."""
    intents: Counter[str] = Counter()
    letters: Counter[str] = Counter()
    for intent, text, answers in rows:
        intents[intent] += answers
        if not text.isascii():
            letters.update(each for each in text if not each.isascii() and each.isalpha())
    return Traffic(n=intents.total(), intents=dict(intents), letters=dict(letters))


def recent(con: Connection, most: int = RECENT) -> Traffic:
    """Return the counts of the newest predictions by their own time, one for each exchange."""
    standing = _STANDING if scalar(con, _KNOWS_EXCHANGES) else ""  # a closed file may be older
    answers = "coalesce(answers, 1)" if scalar(con, _KNOWS_ANSWERS) else "1"
    predictions = _PREDICTIONS.format(standing=standing, answers=answers)
    newest = counted(con.execute(predictions, [_LOOKED_AT, most, 0]).fetchall())
    before = counted(con.execute(predictions, [0, most, most]).fetchall())
    return Traffic(
        n=newest.n, intents=newest.intents, letters=newest.letters, earlier=before.intents
    )


def one_a_key(
    con: Connection, since: datetime, until: datetime, adapter: str | None, most: int
) -> list[tuple[str, str, float | None]]:
    """Return (text, intent, confidence) of one answer a key in a period; of so many keys at most.

    Args:
        con: the database.
        since, until: the period, without its end.
        adapter: whose answers; None: anybody's.
        most: keys.
    """
    asked = {
        "since": stamp(since).isoformat(),
        "until": stamp(until).isoformat(),
        "adapter": adapter,
        "most": most,
    }
    return con.execute(_ONE_A_KEY, asked).fetchall()


def costs(con: Connection, since: datetime) -> list[TrafficCost]:
    """Return what answers cost since then, by adapter, the dearest first."""
    return [TrafficCost(**row) for row in records(con, _COSTS, [stamp(since)])]


def of_closed(path: Path, most: int = RECENT) -> Traffic:
    """Return as `recent` of a file that no process holds; it is not changed, and not migrated.

    Raises:
        StoreFailed: it cannot be opened or read.
    """
    try:
        with closing(duckdb.connect(str(path), read_only=True)) as con:
            return recent(con, most)
    except duckdb.Error as error:
        raise lost(path, error) from error
