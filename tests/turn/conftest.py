"""The wheel that the turn's tests share."""

import pytest
from wheels import Parrot, wheel_in


@pytest.fixture
def wheel(tmp_path):
    built = wheel_in(tmp_path, teacher=Parrot())
    yield built
    built.store.close()
