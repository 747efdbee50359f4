"""Set before anything imports torch: its threads would spin for one another on a busy machine,
and a training of five seconds would take minutes."""

import gc
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from flywheel.store import database, open_store, schema

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The time an example takes says how busy the machine is, and nothing of the law.
settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("any machine")


# A file's tests run in one process. What takes longest is dealt first, or the last of it is waited
# for while the other cores have nothing left.
LONG = frozenset(
    ("faults", "turn", "daemon", "worker", "router", "benchmarks", "deploy", "demo", "store")
)


def pytest_configure(config):
    """Else pytest-randomly asks thinc, a part of spaCy, to seed torch before each test: the process
    that deals the tests to others would import both, and runs none. What needs that seed sets it.
    """
    randomly = config.pluginmanager.get_plugin("randomly")
    if randomly is not None:  # the wheel is tried without it
        randomly.entrypoint_reseeds = []


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.isdisjoint(item.path.parts))


def pytest_collection_finish():
    """All that was imported stays, so that looking for it among the garbage is in vain."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def new_databases_are_copies():
    """A new database begins as a copy of one that was migrated: more than a thousand tests make
    one, and the migrations take most of the time of the quick ones. That they make the same is
    for tests/store/test_store_schema.py; daemons in processes of their own migrate by themselves.
    """
    connect, shipped = database.connect, schema.shipped
    with tempfile.TemporaryDirectory() as folder:
        migrated = Path(folder) / "migrated.duckdb"
        open_store(migrated).close()

        def copied(path, limits=None):
            if not path.exists() and schema.shipped is shipped:  # a test may have others
                shutil.copyfile(migrated, path)
            return connect(path, limits)

        database.connect = copied
        yield
        database.connect = connect
