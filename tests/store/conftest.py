from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flywheel.store import open_store


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "flywheel.duckdb")
    yield opened
    opened.close()


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 22, 12, tzinfo=UTC)
