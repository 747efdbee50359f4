"""One really trained adapter with arguments, and a copy of it that a test may damage."""

import shutil

import pytest
from tiny_training import spec

from flywheel.worker.progress import ProgressLog
from flywheel.worker.train import run


@pytest.fixture(scope="session")
def job(tmp_path_factory):
    """Folder of a train job, and its values."""
    folder = tmp_path_factory.mktemp("train")
    return folder, run(folder, spec(folder), ProgressLog(folder / "progress.jsonl"))


@pytest.fixture
def adapter(job, tmp_path):
    """A copy of the adapter's folder, under its own name in a folder of adapters."""
    return shutil.copytree(job[0] / "adapter", tmp_path / "adapters" / job[1]["adapter"])
