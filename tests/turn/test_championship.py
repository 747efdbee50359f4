"""The champion that nobody decided: found in the tables, at a restore, and by `db check`."""

import shutil
import tarfile
from pathlib import Path

import duckdb
import pytest
from runtimes import NOW

from flywheel.errors import Refused
from flywheel.store import championship, open_store, restoring
from flywheel.turn import integrity

LAST = "(SELECT max(number) FROM champions)"
FORGED = {
    f"UPDATE champions SET adapter = 'a-x' WHERE number = {LAST}": (
        "d-3 made {first} the champion, and champions has a-x by d-3 instead"
    ),
    "INSERT INTO champions SELECT max(number) + 1, 'a-x', NULL, now()::TIMESTAMP FROM champions": (
        "champions has a-x by no decision, and no decision was applied for it"
    ),
    "INSERT INTO champions SELECT max(number) + 1, 'a-x', 'd-2', now()::TIMESTAMP FROM champions": (
        "champions has a-x by d-2, and no decision was applied for it"
    ),
    f"DELETE FROM champions WHERE number = {LAST}": (
        "d-3 made {first} the champion, and champions has no champion instead"
    ),
    "DELETE FROM champions WHERE number = 1": (
        "d-1 made {first} the champion, and champions has {second} by d-2 instead"
    ),
    f"UPDATE champions SET since = since - INTERVAL 1 DAY WHERE number = {LAST}": (
        "champions has {first} by d-3 in another place or at another time"
    ),
    f"UPDATE champions SET number = 9 WHERE number = {LAST}": (
        "champions has {first} by d-3 in another place or at another time"
    ),
    "UPDATE adapters SET state = 'champion' WHERE state = 'retired'": (
        "{second} is champion in the registry, and {first} serves"
    ),
    "UPDATE adapters SET state = 'external' WHERE state = 'champion'": (
        "{first} is called external, and was trained here"
    ),
    "UPDATE adapters SET state = 'retired' WHERE state = 'champion'": (
        "{first} is retired in the registry, and is the champion"
    ),
    "DELETE FROM adapters WHERE state = 'champion'": (
        "{first} was champion, and is not in the registry"
    ),
    "INSERT INTO adapters SELECT * FROM adapters WHERE state = 'champion'": (
        "{first} is 2 times in the registry"
    ),
}


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """A folder whose first champion was replaced, and came back by a person's rollback."""
    folder = tmp_path_factory.mktemp("state")
    with tarfile.open(Path(__file__).with_name("version11.tar.gz")) as packed:
        packed.extractall(folder, filter="data")
    open_store(folder / "var" / "flywheel.duckdb").close()
    return folder / "var"


@pytest.fixture
def copy(state, tmp_path):
    return shutil.copy(state / "flywheel.duckdb", tmp_path / "flywheel.duckdb.arriving")


def adapters_of(con):
    rows = con.execute("SELECT adapter FROM champions ORDER BY number").fetchall()
    return dict(zip(("first", "second"), (name for (name,) in rows), strict=False))


def test_what_was_decided_has_no_problem(copy):
    with duckdb.connect(str(copy)) as con:
        assert championship.problems(con) == []


@pytest.mark.parametrize(("sql", "named"), FORGED.items())
def test_a_champion_that_no_decision_made_is_named(copy, sql, named):
    with duckdb.connect(str(copy)) as con:
        names = adapters_of(con)
        con.execute(sql)
        assert named.format(**names) in championship.problems(con)


def test_a_backup_with_another_champion_is_refused_and_nothing_is_made_of_it(copy, state, tmp_path):
    with duckdb.connect(str(copy)) as con:
        con.execute(f"UPDATE champions SET adapter = 'a-x' WHERE number = {LAST}")
    with pytest.raises(Refused, match=r"^the backup cannot be used: d-3 made a-.* the champion"):
        integrity.examine(copy, state, NOW)
    assert not restoring.proved(copy).exists()


def test_a_backup_with_a_rewritten_log_is_refused(copy, state):
    with duckdb.connect(str(copy)) as con:
        con.execute("UPDATE decision_events SET actor = 'bob' WHERE number = 1")
    with pytest.raises(Refused, match="event 1 of d-1: was changed after it was written"):
        integrity.examine(copy, state, NOW)


def test_a_check_of_the_database_names_it(state, tmp_path):
    store = open_store(shutil.copy(state / "flywheel.duckdb", tmp_path / "flywheel.duckdb"))
    with store.write() as con:
        con.execute("UPDATE adapters SET state = 'retired' WHERE state = 'champion'")
    problems = integrity.check(store, state)["problems"]
    store.close()
    assert [line.partition(" ")[2] for line in problems] == [
        "is retired in the registry, and is the champion"
    ]


REWRITTEN = {
    "UPDATE samples SET intent = 'set_timer' WHERE split = 'golden'": (
        "golden generation 1 is not as it was sealed, with"
    ),
    "DELETE FROM golden_rows WHERE sample = (SELECT min(sample) FROM golden_rows)": (
        "golden generation 1 is not as it was sealed, with"
    ),
    "UPDATE golden_queries SET number = 5": "golden_queries has 1 rows, and the last is number 5",
    "DELETE FROM turns WHERE number = 1": "turns has 1 rows, and the last is number 2",
    "UPDATE turns SET decision = 'd-1' WHERE id = 't-2'": "t-2 speaks of d-1, which is of t-1",
    "UPDATE turns SET decision = 'd-9' WHERE id = 't-2'": "t-2 speaks of d-9, which is of nobody",
    "UPDATE golden_queries SET turn = 't-9'": (
        "query 1 of the golden set is of no generation or of no turn"
    ),
    "UPDATE decisions SET rests_on = json_merge_patch(rests_on, "
    """'{"golden_queries": "3 of 20 asked"}') WHERE id = 'd-2'""": (
        "d-2 was judged after 3 queries of golden generation 1, and the ledger has 1"
    ),
}


@pytest.mark.parametrize(("sql", "named"), REWRITTEN.items())
def test_history_that_was_rewritten_is_named(state, tmp_path, sql, named):
    store = open_store(shutil.copy(state / "flywheel.duckdb", tmp_path / "flywheel.duckdb"))
    with store.write() as con:
        con.execute(sql)
    problems = integrity.check(store, state)["problems"]
    store.close()
    assert [line for line in problems if line.startswith(named)], problems
