"""The worker as a process: its result comes last, and a kill costs time and nothing else."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tiny_training import spec

from flywheel.worker.models import base
from flywheel.worker.models.encoder.frozen_states import FrozenStates


def test_a_killed_training_resumes_and_ends_in_the_same_adapter(trained, tmp_path):
    job(tmp_path, "train", spec(tmp_path))
    code = (
        "import os, signal, sys\n"
        "from flywheel.worker import checkpoints\n"
        "from flywheel.worker.jobs import main\n"
        "save = checkpoints.save\n"
        "def save_and_die(*arguments):\n"
        "    save(*arguments)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "checkpoints.save = save_and_die\n"
        "main(sys.argv[1:])\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "checkpoint.safetensors").exists()
    assert not (tmp_path / "result.json").exists()
    assert start(tmp_path).wait() == 0
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert result["values"] == trained[1]


def test_a_refused_job_says_why_in_its_result(tmp_path):
    job(tmp_path, "train", spec(tmp_path, recipe="fast"))
    assert start(tmp_path).wait() == 0
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert (result["ok"], result["values"]) == (False, {})
    assert result["error"] == (
        "there is no recipe 'fast'; [training] recipe is one of "
        "frozen, quick, balanced, thorough, auto"
    )


def test_a_folder_without_a_job_is_a_usage_error(tmp_path):
    assert start(tmp_path).wait() == 2


@pytest.mark.parametrize(
    ("kind", "left_out"),
    [
        ("train", {"scipy", "sklearn", "pandas", "sentence_transformers", "transformers.trainer"}),
        ("crossfit", {"transformers", "peft", "accelerate", "torch._dynamo"}),
    ],
)
def test_a_job_imports_nothing_that_takes_seconds_and_is_not_needed(tmp_path, kind, left_out):
    told = spec(tmp_path, recipe="frozen", folds=2, threads=1)
    rows = pq.read_table(told["dataset"])
    pq.write_table(rows, tmp_path / "rows.parquet")
    FrozenStates(base.load(base.BUNDLED), 3, 32, Path(told["cache_dir"])).states(
        rows["text"].to_pylist()
    )
    job(tmp_path, kind, told)
    code = (
        "import sys\n"
        "from flywheel.worker.jobs import main\n"
        "main(sys.argv[1:])\n"
        f"print(sorted(n for n in {left_out!r} if sys.modules.get(n)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("[]\n", "", 0)
    assert json.loads((tmp_path / "result.json").read_text("utf-8"))["ok"]


def job(folder, kind, told):
    (folder / "job.json").write_text(json.dumps({"id": "j-1", "kind": kind, "spec": told}))


def start(folder):
    command = [sys.executable, "-m", "flywheel.worker", str(folder)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)
