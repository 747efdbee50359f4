"""A service with the champion a-1, on a real Unix socket."""

import pytest
from word_service import adapter_folder, running


@pytest.fixture
def state(tmp_path):
    for name in ("a-1", "a-2"):
        adapter_folder(tmp_path, name)
    return tmp_path


@pytest.fixture
def served(state):
    """The champion a-1 answers; a-2 has a folder."""
    with running(state) as run:
        yield run
