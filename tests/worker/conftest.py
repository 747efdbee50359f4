"""One adapter, really trained on eight intents, shared by the tests of the worker."""

from pathlib import Path
from typing import Any

import pytest
from tiny_training import spec

from flywheel.worker.progress import ProgressLog
from flywheel.worker.train import run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Folder of a train job, and its values."""
    folder = tmp_path_factory.mktemp("train")
    return folder, run(folder, spec(folder), ProgressLog(folder / "progress.jsonl"))
