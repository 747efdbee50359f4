"""The pulse keeps serving at the champion of the database, and tells when it cannot."""

from datetime import UTC, datetime

from real_daemon import QUIET, ask

from flywheel import files
from flywheel.records import Adapter, Decision
from flywheel.store import adapters, decisions, open_store
from tests.waiting import until

QUICK = {"WATCHDOG_USEC": "600000"}  # the pulse is a third of it
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def crowned(folder, *, recorded=True):
    """A state folder whose champion is a-1."""
    place = folder / "var" / "adapters" / "a-1"
    place.mkdir(parents=True)
    (place / "flywheel.json").write_text("{}")
    store = open_store(folder / "var" / "flywheel.duckdb")
    with store.write() as con:
        adapters.add(
            con,
            Adapter(
                id="a-1",
                base="b",
                recipe="frozen",
                dataset="ds-1",
                parent=None,
                created_at=NOON,
                state="challenger",
                files=files.hashes(place) if recorded else {},
            ),
        )
        decisions.add(
            con,
            Decision(
                id="d-1",
                turn=None,
                challenger="a-1",
                champion=None,
                verdict="promote",
                status="pending",
                by="bootstrap",
                because="the first champion",
                at=NOON,
            ),
        )
        decisions.set_status(con, "d-1", "applied", "bootstrap", "the first champion", NOON)
        adapters.set_champion(con, "a-1", "d-1", NOON)
    store.close()
    return place


def problems(folder):
    return " ".join(ask(folder, "GET", "/v1/status")[1]["problems"])


def metric(folder, name):
    page = ask(folder, "GET", "/metrics")[1].splitlines()
    return float(next(line.split()[1] for line in page if line.startswith(f"{name} ")))


def test_a_champion_that_changes_is_a_problem_until_it_is_mended(start, tmp_path):
    place = crowned(tmp_path)
    start(QUIET, **QUICK)
    link = tmp_path / "var" / "adapters" / "champion"
    assert ask(tmp_path, "GET", "/readyz")[0] == 200
    (place / "flywheel.json").write_text("{ }")
    until(lambda: "flywheel.json changed" in problems(tmp_path))
    status, said = ask(tmp_path, "GET", "/readyz")
    assert (status, "the files of a-1 are not those that were trained" in said["error"]) == (
        503,
        True,
    )
    assert metric(tmp_path, "flywheel_champion_unserved") == 1
    assert link.readlink().name == "a-1"
    (place / "flywheel.json").write_text("{}")
    until(lambda: "a-1" not in problems(tmp_path))
    assert ask(tmp_path, "GET", "/readyz")[0] == 200
    assert metric(tmp_path, "flywheel_champion_unserved") == 0


def test_what_was_decided_is_served_as_soon_as_it_can_be(start, tmp_path):
    """As after an approval whose link could not be set."""
    place = crowned(tmp_path)
    place.rename(place.with_name("aside"))
    start(QUIET, **QUICK)
    link = tmp_path / "var" / "adapters" / "champion"
    assert "a-1 has no folder" in problems(tmp_path)
    assert not link.is_symlink()
    place.with_name("aside").rename(place)
    until(lambda: link.is_symlink() and "a-1" not in problems(tmp_path))
    link.unlink()  # by hand
    until(link.is_symlink)


def test_a_start_records_the_files_of_an_earlier_version_once(start, manager, tmp_path):
    crowned(tmp_path, recorded=False)
    for _ in range(2):
        process = start(QUIET)
        assert "a-1" not in problems(tmp_path)
        process.terminate()
        process.communicate()
        manager.rest()
        manager.heard.clear()
    store = open_store(tmp_path / "var" / "flywheel.duckdb")
    with store.read() as con:
        assert [act["what"] for act in decisions.acts(con)].count("adapter.files.recorded") == 1
        assert list(adapters.get(con, "a-1").files) == ["flywheel.json"]
    store.close()
