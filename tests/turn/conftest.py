"""The loop that the turn's tests share."""

import pytest
from runtimes import Parrot, runtime_in


@pytest.fixture
def runtime(tmp_path):
    built = runtime_in(tmp_path, teacher=Parrot())
    yield built
    built.store.close()
