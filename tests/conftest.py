"""Set before anything imports torch: its threads would spin for one another on a busy machine,
and a training of five seconds would take minutes."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session", autouse=True)
def _unicode_tables():
    """In a fresh clone the first text that hypothesis draws costs a second: it makes its tables of
    Unicode. Whichever test came first would be called too slow at drawing."""
    from hypothesis import HealthCheck, find, settings
    from hypothesis import strategies as st

    once = settings(max_examples=1, database=None, suppress_health_check=list(HealthCheck))
    find(st.text(min_size=1), lambda _: True, settings=once)
