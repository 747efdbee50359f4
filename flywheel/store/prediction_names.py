"""By which ids feedback finds a prediction, and which of several records of one exchange counts.

A prediction is named by its id and its aliases. What several tools logged of one exchange is one
prediction: the record with the highest `precedence` counts, then the earliest, then the lowest id;
the others are `superseded`, and their names are names of that one. An id goes before an alias. An
alias of two exchanges names neither.

Event tables are only appended to. What is derived here is a function of the events that are
stored, so their order does not matter.
"""

from __future__ import annotations

import pyarrow
import pyarrow.compute as pc

from flywheel.store import archive
from flywheel.store.columns import Connection, scalar

_IN_USE = "SELECT EXISTS (SELECT 1 FROM aliases) OR EXISTS (SELECT 1 FROM exchanges)"
_ADD_ALIASES = """
    INSERT INTO aliases
    SELECT DISTINCT unnest(from_json(aliases, '["VARCHAR"]')) AS alias, id
    FROM arriving WHERE aliases <> '[]'
"""
_ADD_EXCHANGES = """
    INSERT INTO exchanges SELECT exchange, id, precedence, ts FROM arriving WHERE exchange <> ''
"""
_FIRST = "PARTITION BY exchange ORDER BY precedence DESC, ts, prediction_id"
_LOSING = f"""
    CREATE TEMP TABLE newly_superseded AS
    SELECT prediction_id FROM (
        SELECT prediction_id FROM exchanges
        WHERE exchange IN (SELECT exchange FROM arriving WHERE exchange <> '')
        QUALIFY row_number() OVER ({_FIRST}) > 1
    ) ANTI JOIN superseded USING (prediction_id)
"""  # noqa: S608  names of this module
_TOUCHED = """
    CREATE TEMP TABLE touched_names AS
    WITH ids AS (
        SELECT id FROM arriving
        UNION
        SELECT prediction_id FROM exchanges
        WHERE exchange IN (SELECT exchange FROM arriving WHERE exchange <> '')
    )
    SELECT id AS name FROM ids
    UNION
    SELECT alias FROM aliases WHERE prediction_id IN (SELECT id FROM ids)
"""
_TARGETS = f"""
    CREATE TEMP TABLE targets AS
    WITH by_id AS (
        SELECT id AS name, id FROM {{predictions}} WHERE id IN (SELECT name FROM touched_names)
    ),
    named AS (
        SELECT name, id FROM by_id
        UNION ALL
        SELECT alias AS name, prediction_id AS id FROM aliases
        WHERE alias IN (SELECT name FROM touched_names)
            AND alias NOT IN (SELECT name FROM by_id)
    ),
    first_ones AS (
        SELECT exchange, prediction_id FROM exchanges
        WHERE exchange IN (
            SELECT exchange FROM exchanges WHERE prediction_id IN (SELECT id FROM named)
        )
        QUALIFY row_number() OVER ({_FIRST}) = 1
    ),
    counting AS (
        SELECT n.name, coalesce(f.prediction_id, n.id) AS id
        FROM named AS n
        LEFT JOIN exchanges AS e ON e.prediction_id = n.id
        LEFT JOIN first_ones AS f ON f.exchange = e.exchange
    )
    SELECT name, min(id) AS prediction_id FROM counting
    GROUP BY name HAVING count(DISTINCT id) = 1
"""  # noqa: S608  names of this module
_ANSWERS = """(
    SELECT id, ts, intent, adapter, slices, answers FROM {source} AS p
    WHERE coalesce(calls, '[]') = '[]'
    UNION ALL
    SELECT id, ts, unnest(intents_of(intent, calls)) AS intent, adapter, slices,
        answers
    FROM {source} AS p WHERE calls <> '[]'
)"""


def answers(source: str) -> str:
    """SQL of a row for each intent that each prediction of `source` called."""
    return _ANSWERS.format(source=source)


def standing(source: str) -> str:
    """SQL of the predictions of `source` that count."""
    return f"(SELECT p.* FROM {source} AS p ANTI JOIN superseded AS s ON s.prediction_id = p.id)"  # noqa: S608


def in_use(con: Connection) -> bool:
    """Whether any prediction has a name beside its id."""
    return bool(scalar(con, _IN_USE))


def have_names(rows: pyarrow.Table) -> bool:
    """Whether any of these predictions has aliases, or may share its exchange."""
    named = pc.any(pc.not_equal(rows["aliases"], "[]")).as_py()
    return bool(named or pc.any(pc.not_equal(rows["exchange"], "")).as_py())


def note(con: Connection) -> None:
    """Note the names of the predictions in `arriving`, which are stored already.

    The temporary table `newly_superseded` then has the ids, stored before, that count no more.
    """
    con.execute(_ADD_ALIASES)
    con.execute(_ADD_EXCHANGES)
    con.execute("DROP TABLE IF EXISTS newly_superseded")
    con.execute(_LOSING)
    con.execute("INSERT INTO superseded SELECT prediction_id FROM newly_superseded")
    con.execute("DELETE FROM newly_superseded WHERE prediction_id IN (SELECT id FROM arriving)")


def touch_arriving_predictions(con: Connection) -> None:
    """Fill `touched_names` with every name of the predictions in `arriving` and their exchanges."""
    con.execute("DROP TABLE IF EXISTS touched_names")
    con.execute(_TOUCHED)


def touch(con: Connection, select: str) -> None:
    """Fill `touched_names` with the names that a statement selects."""
    con.execute("DROP TABLE IF EXISTS touched_names")
    con.execute(f"CREATE TEMP TABLE touched_names AS SELECT DISTINCT name FROM ({select})")  # noqa: S608


def resolve(con: Connection) -> None:
    """Fill `targets` with the one prediction that each of `touched_names` names, if it is one."""
    con.execute("DROP TABLE IF EXISTS targets")
    con.execute(_TARGETS.format(predictions=archive.everything(con, "predictions")))


def forget(con: Connection) -> None:
    """Drop the temporary tables."""
    for name in ("newly_superseded", "touched_names", "targets"):
        con.execute(f"DROP TABLE IF EXISTS {name}")
