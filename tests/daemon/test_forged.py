"""A daemon on a database whose champion somebody wrote: it answers, and makes nothing of it."""

import contextlib
import tarfile
from pathlib import Path

import duckdb
from real_daemon import ask

from flywheel.store import open_store

STATE = Path(__file__).parents[1] / "turn" / "version11.tar.gz"
FORGE = """
    UPDATE champions SET adapter = (SELECT adapter FROM champions WHERE number = 2)
    WHERE number = (SELECT max(number) FROM champions)
"""


def test_a_champion_that_nobody_decided_is_told_not_served_and_not_built_upon(start, tmp_path):
    with tarfile.open(STATE) as packed:
        packed.extractall(tmp_path, filter="data")
    database = tmp_path / "var" / "flywheel.duckdb"
    open_store(database).close()
    with contextlib.closing(duckdb.connect(str(database))) as con:
        con.execute(FORGE)
    link = tmp_path / "var" / "adapters" / "champion"
    served = link.readlink()
    start()
    problems = ask(tmp_path, "GET", "/v1/status")[1]["problems"]
    assert any("d-3 made a-" in words and "champions has a-" in words for words in problems)
    back = {"to": served.name, "because": "it was better"}
    status, refused = ask(tmp_path, "POST", "/v1/rollback", back)
    assert (status, refused["error"][:42]) == (409, "nothing becomes champion while d-3 made a-")
    assert link.readlink() == served
