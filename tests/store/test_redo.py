"""The redo log: whatever becomes of DuckDB's own log, what was committed is there once."""

import contextlib
import os
import random
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel.errors import DiskFull, StoreFailed
from flywheel.records import Adapter, Decision, Prediction, Sample
from flywheel.spool import SegmentWriter
from flywheel.store import adapters, decisions, events, open_store, redo, samples, schema

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def opened(folder):
    return contextlib.closing(
        open_store(folder / "flywheel.duckdb", redo_folder=folder / redo.FOLDER)
    )


def say(store, number):
    """Three transactions, one of each kind that a person is told of as done."""
    text, at = f"text {number}", NOON + timedelta(minutes=number)
    with store.write() as con:
        sample = Sample(id=f"s-{number}", text=text, intent="a", origin="person", split="train")
        samples.add(con, [sample], generation=None, bought_for=None, at=NOON)
    with store.write() as con:
        said = Prediction(id=f"p-{number}", ts=at, text=text, intent="a", confidence=0.5)
        events.add_predictions(con, [said])
    with store.write() as con:
        about = Adapter(
            id=f"a-{number}",
            base="b",
            recipe="r",
            dataset="d",
            parent=None,
            created_at=NOON,
            state="challenger",
        )
        adapters.add(con, about)
        waits = Decision(
            id=f"d-{number}",
            turn=None,
            challenger=about.id,
            champion=None,
            verdict="hold",
            status="pending",
            by="gates",
            because="undecided",
            at=at,
        )
        decisions.add(con, waits)
        decisions.set_status(con, waits.id, "rejected", "ada", "nein, 不行", at)


def content(store):
    with store.read() as con:
        return schema.fingerprints(con), redo.position(con)


@pytest.fixture
def crashed(tmp_path):
    """What a crash leaves after six things were said, of which the file has two, and the truth."""
    folder, left = tmp_path / "var", tmp_path / "left"
    folder.mkdir()
    with opened(folder) as store:
        for number in (1, 2):
            say(store, number)
        assert store.checkpoint()
        for number in (3, 4, 5, 6):
            say(store, number)
        shutil.copytree(folder, left)
        truth = content(store)
    return left, truth


def test_an_intact_log_of_the_engine_leaves_nothing_to_repeat(crashed):
    folder, truth = crashed
    with opened(folder) as store:
        assert (content(store), store.recovered.replayed) == (truth, 0)
        assert store.recovered.problems == ()


def _delete(wal, _):
    wal.unlink()


def _overwrite(wal, chance):
    wal.write_bytes(chance.randbytes(wal.stat().st_size))


def _zero(wal, _):
    wal.write_bytes(bytes(wal.stat().st_size))


def _truncate(wal, chance):
    os.truncate(wal, chance.randrange(wal.stat().st_size))


def _flip(wal, chance):
    data = bytearray(wal.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    wal.write_bytes(data)


def _overwrite_the_end(wal, chance):
    data = wal.read_bytes()
    half = chance.randrange(len(data))
    wal.write_bytes(data[:half] + chance.randbytes(len(data) - half))


DAMAGE = (_delete, _overwrite, _zero, _truncate, _flip, _overwrite_the_end)


def survives(folder, truth, damage, chance):
    damage(folder / "flywheel.duckdb.wal", chance)
    with opened(folder) as store:
        assert content(store) == truth
        assert store.recovered.problems == ()
        say(store, 7)
        later = content(store)
        shutil.copytree(folder, folder.with_name("again"))
    shutil.rmtree(folder)
    (folder.with_name("again")).rename(folder)
    (folder / "flywheel.duckdb.wal").unlink(missing_ok=True)
    with opened(folder) as store:
        assert content(store) == later


@pytest.mark.parametrize("damage", [_delete, _overwrite, _flip])
def test_a_damaged_log_of_the_engine_loses_nothing_and_doubles_nothing(crashed, damage):
    survives(*crashed, damage, random.Random(0))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_no_damage_of_the_engines_log_loses_anything(crashed, seed):
    survives(*crashed, DAMAGE[seed % len(DAMAGE)], random.Random(seed))


def test_a_process_that_dies_of_the_engines_log_sets_it_aside_at_the_third_start(crashed):
    folder, truth = crashed
    (folder / redo.FOLDER / "opening").write_bytes(b"..")
    with opened(folder) as store:
        assert store.recovered.wal == "flywheel.duckdb.wal.before-1"
        assert content(store) == truth
    assert not (folder / redo.FOLDER / "opening").exists()


def test_a_damaged_line_of_the_log_is_kept_apart_and_told_and_the_rest_is_repeated(crashed):
    folder, _ = crashed
    (folder / "flywheel.duckdb.wal").unlink()
    (segment,) = (folder / redo.FOLDER).glob("*.ndjson")
    lines = segment.read_bytes().splitlines(keepends=True)
    number = 13  # behind the mark: the fifth sample
    lines[number] = lines[number][:40] + b"~" + lines[number][41:]
    segment.write_bytes(b"".join(lines))
    with opened(folder) as store:
        assert (store.recovered.replayed, store.recovered.lost) == (11, 1)
        (problem,) = store.recovered.problems
        assert problem.startswith("1 transactions of the redo log could not be read or repeated")
        with store.read() as con:
            assert decisions.check_chain(con).problems == ()
            assert decisions.get(con, "d-6").status == "rejected"
    assert (folder / redo.FOLDER / redo.NOT_APPLIED).read_bytes() == lines[number]


def test_a_torn_last_line_was_never_committed_and_is_passed_over(crashed):
    folder, truth = crashed
    (segment,) = (folder / redo.FOLDER).glob("*.ndjson")
    with segment.open("ab") as file:
        file.write(b'{"crc":"00000000","entry":{"transac')
    with opened(folder) as store:
        assert (content(store), store.recovered.problems) == (truth, ())


def test_a_chain_that_lost_its_end_is_told(crashed):
    folder, _ = crashed
    shutil.move(folder / redo.FOLDER, folder / "kept")
    with opened(folder) as store, store.write() as con:
        con.execute("DELETE FROM decision_events WHERE decision = 'd-6'")
        con.execute("DELETE FROM decisions WHERE id = 'd-6'")
    shutil.rmtree(folder / redo.FOLDER)
    shutil.move(folder / "kept", folder / redo.FOLDER)
    with opened(folder) as store:
        told = " ".join(store.recovered.problems)
    assert "the decision log has 10 events, and the 12 noted beside it end otherwise" in told


def test_a_log_that_lost_its_end_is_told_and_the_database_is_whole(crashed):
    folder, truth = crashed
    (segment,) = (folder / redo.FOLDER).glob("*.ndjson")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:-3]))
    with opened(folder) as store:
        assert content(store) == truth
        (problem,) = store.recovered.problems
    assert problem.endswith("the log's end was cut off; the database is whole")


def test_the_log_of_another_database_is_kept_and_not_used(crashed, tmp_path):
    folder, _ = crashed
    for path in folder.glob("flywheel.duckdb*"):
        path.unlink()
    with opened(folder) as store:
        (problem,) = store.recovered.problems
        say(store, 1)
    assert "is of another database" in problem
    assert (folder / "redo.before-1").is_dir()
    with opened(folder) as store:
        assert store.recovered.problems == ()


def test_an_older_file_in_the_place_of_the_database_is_brought_up_to_date_or_told(tmp_path):
    folder = tmp_path / "var"
    folder.mkdir()
    with opened(folder) as store:
        say(store, 1)
    old = tmp_path / "old.duckdb"
    shutil.copy(folder / "flywheel.duckdb", old)
    with opened(folder) as store:
        say(store, 2)
        truth = content(store)
    shutil.copy(old, folder / "flywheel.duckdb")
    with opened(folder) as store:
        assert (content(store), store.recovered.replayed) == (truth, 3)
        assert store.prove_checkpoint(tmp_path / "copy", lambda _: content(store)[1])
    shutil.copy(old, folder / "flywheel.duckdb")
    with opened(folder) as store:
        (problem,) = store.recovered.problems
    assert "begins behind transaction 6, and the database ends at 3" in problem


def test_a_full_disk_keeps_nothing_and_acknowledges_nothing(tmp_path, monkeypatch):
    with opened(tmp_path) as store:
        say(store, 1)
        truth = content(store)

        def full(writer, data):
            os.write(writer._file, data[:20])
            raise OSError(28, os.strerror(28))

        with monkeypatch.context() as patched:
            patched.setattr(SegmentWriter, "append", full)
            with pytest.raises(DiskFull):
                say(store, 2)
        assert content(store) == truth
        say(store, 2)
        assert content(store) != truth
        size = store.log.size
        store.log.end()
        assert size == sum(path.stat().st_size for path in store.log.folder.glob("*.ndjson"))


def test_a_transaction_that_did_not_commit_is_in_no_log(tmp_path):
    with opened(tmp_path) as store:
        say(store, 1)
        size = store.log.size
        with pytest.raises(ValueError, match="recorded already"):
            say(store, 1)
        assert store.log.size >= size
        assert content(store)[1].number == 5  # the sample and the prediction are known, and stay


def test_the_log_goes_only_when_a_copy_of_the_file_says_the_same(tmp_path):
    with opened(tmp_path) as store:
        say(store, 1)
        size, mark = store.log.size, content(store)[1]
        other = redo.Mark(database=mark.database, number=mark.number, tip="", events=0)
        with pytest.raises(StoreFailed, match="is not as the database says"):
            store.prove_checkpoint(tmp_path / "copy", lambda _: other)
        assert store.log.size > size
        assert store.prove_checkpoint(tmp_path / "copy", lambda _: mark)
        assert store.log.size < size
        assert store.forget_log()


CELLS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes().map(lambda at: at.replace(fold=0))
    | st.dates(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(
    bound=st.lists(CELLS, max_size=4) | st.dictionaries(st.text(), CELLS, max_size=4),
    number=st.integers(0, 1 << 60),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_what_was_bound_is_read_as_it_was_and_a_changed_byte_shows(bound, number):
    parameters = redo._parameters(bound)
    line = redo.line_of(redo.Entry(number=number, steps=[["run", "SELECT ?", parameters]]))
    read = redo.parsed(line)
    assert repr(redo.bound(read.steps[0][2])) == repr(bound)
    at = number % (len(line) - 1)
    damaged = line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :]
    assert isinstance(redo.parsed(damaged), redo.Damaged)
