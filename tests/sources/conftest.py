"""What the tests of sources share: where the plug-ins are, and a clock that stands still."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"


@pytest.fixture
def plugins() -> Path:
    """The folder plugins/ of this repository."""
    return PLUGINS


@pytest.fixture
def noon():
    return lambda: datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
