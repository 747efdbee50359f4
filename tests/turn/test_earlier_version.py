"""A state folder of the version before opens: tables, spool, and what its turns remember."""

import tarfile
from pathlib import Path

import pytest
from runtimes import PLAY, runtime_in
from version11 import SPOOLED

from flywheel.loader import Loader
from flywheel.spool import Spool
from flywheel.store import adapters, consistency, events, turns
from flywheel.store.label_candidates import vote_counts
from flywheel.turn import integrity, verify


@pytest.fixture
def earlier(tmp_path):
    """The runtime over a folder that schema version 11 left behind, its spool not loaded yet."""
    with tarfile.open(Path(__file__).with_name("version11.tar.gz")) as packed:
        packed.extractall(tmp_path, filter="data")
    runtime = runtime_in(tmp_path)
    yield runtime
    runtime.store.close()


def test_its_decisions_are_recomputed_to_the_same_bytes_and_nothing_is_missing(earlier):
    for name in ("d-1", "d-2"):
        assert verify(earlier, name)["same"], name
    report = integrity.check(earlier.store, earlier.config.state_dir)
    assert report["problems"] == []


def test_its_turns_remember_what_they_wrote_trained_and_decided(earlier):
    with earlier.store.read() as con:
        second = turns.get(con, "t-2")
        assert adapters.champion(con) == second.record.champion  # the person's rollback stands
    record = second.record
    assert PLAY in {brief.intent.name for brief in record.briefs}
    assert (sum(record.written.values()) > 0, record.dataset[:3]) == (True, "ds-")
    assert (record.decision, record.generation, record.round) == ("d-2", 1, 1)
    assert record.judgement is not None
    assert record.rules is not None


def test_its_spool_is_loaded_whole(earlier):
    with earlier.store.read() as con:
        before = events.counts(con)
    spool = Spool(earlier.config.state_dir / "spool", 1 << 24)
    assert Loader(earlier.store, spool).empty()
    spool.close()
    with earlier.store.read() as con:
        after = events.counts(con)
        assert after.predictions - before.predictions == SPOOLED
        assert after.feedback - before.feedback == SPOOLED
        assert (after.rejected, vote_counts(con)["play_music"]) == (0, SPOOLED - 1)
        assert consistency.differences(con) == []
