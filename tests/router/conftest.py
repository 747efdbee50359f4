"""One really trained adapter with arguments, and a copy of it that a test may damage."""

import shutil

import pytest
from tiny_training import TEXTS, spec

from flywheel.worker.device import CPU
from flywheel.worker.models.encoder.layers import Encoder
from flywheel.worker.progress import ProgressLog
from flywheel.worker.train import run


@pytest.fixture(scope="session", autouse=True)
def _one_base():
    """The base is read once for all tests: nothing changes its weights."""
    known, exact = {}, Encoder.load

    def load(base, device=CPU):
        key = (base.folder, base.sha256, base.pooling, str(device))
        if key not in known:
            known[key] = exact(base, device)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Encoder, "load", load)
        yield


@pytest.fixture(scope="session")
def job(tmp_path_factory):
    """Folder of a train job, and its values."""
    folder = tmp_path_factory.mktemp("train")
    seeds = [text for texts in TEXTS.values() for text in texts]
    told = spec(folder, vector_seeds=seeds, graph=True)
    return folder, run(folder, told, ProgressLog(folder / "progress.jsonl"))


@pytest.fixture
def adapter(job, tmp_path):
    """A copy of the adapter's folder, under its own name in a folder of adapters."""
    return shutil.copytree(job[0] / "adapter", tmp_path / "adapters" / job[1]["adapter"])
