"""Device and number type are looked up, not timed: what an adapter learns depends on no clock."""

import ast
import json
import random
import time
from pathlib import Path

import pytest
import torch
from tiny_training import spec

from flywheel.errors import FlywheelError
from flywheel.worker import device, train
from flywheel.worker.progress import ProgressLog

WORKER = Path(device.__file__).parent
REPORT_TIMES = {"jobs.py", "progress.py", "predict.py"}  # and decide nothing by them
CHOOSES_AN_ENGINE = {"engine_choice.py"}  # of two that give the same answers, the faster


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [
        ("flags\t\t: fpu avx512_bf16 sse\n", torch.bfloat16),
        ("processor\t: 0\nflags\t\t: amx_bf16\n\nprocessor\t: 1\n", torch.bfloat16),
        ("flags\t\t: fpu avx2 avx512_bf16_or_so\n", torch.float32),
        ("Features\t: fp asimd bf16\n", torch.float32),
        ("", torch.float32),
    ],
)
def test_the_number_type_follows_the_processors_flags(tmp_path, monkeypatch, flags, dtype):
    (tmp_path / "cpuinfo").write_text(flags)
    monkeypatch.setattr(device, "_CPUINFO", tmp_path / "cpuinfo")
    assert device.number_type() == dtype


@pytest.fixture
def cuda(monkeypatch):
    """Let torch see CUDA devices of these compute capabilities; none by default."""

    def see(*capabilities):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(capabilities))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
        monkeypatch.setattr(
            torch.cuda, "get_device_capability", lambda of: capabilities[of.index or 0]
        )

    see()
    return see


@pytest.mark.parametrize(
    ("name", "place"),
    [("auto", "cuda:0"), ("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")],
)
def test_the_device_is_the_one_that_is_asked_for(cuda, name, place):
    cuda((8, 0), (7, 5))
    assert str(device.find(name)) == place


def test_without_cuda_auto_is_the_processor(cuda):
    assert device.find("auto") == device.find("cpu") == torch.device("cpu")


@pytest.mark.parametrize(("name", "offered"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_device_that_is_not_there_is_refused_with_the_number_that_are(cuda, name, offered):
    cuda(*[(8, 0)] * offered)
    with pytest.raises(FlywheelError, match=f"{name} is not there.* offers {offered} CUDA"):
        device.find(name)


def test_a_cuda_device_trains_in_bfloat16_where_it_has_the_hardware(cuda):
    cuda((8, 0), (7, 5))
    assert device.number_type(torch.device("cuda:0")) == torch.bfloat16
    assert device.number_type(torch.device("cuda:1")) == torch.float32


def test_a_job_on_a_device_that_is_not_there_is_refused(cuda, tmp_path):
    with pytest.raises(FlywheelError, match="device cuda:1 is not there"):
        train.run(tmp_path, spec(tmp_path, device="cuda:1"), ProgressLog(tmp_path / "p.jsonl"))


def test_where_nothing_is_known_of_the_processor_it_is_float32(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "_CPUINFO", tmp_path / "absent")
    assert device.number_type() == torch.float32


def test_only_what_reports_times_or_chooses_an_engine_reads_a_clock():
    readers = {
        path.name
        for path in WORKER.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and {"time", "timeit"} & {a.name for a in node.names})
        or (isinstance(node, ast.ImportFrom) and node.module in ("time", "timeit", "datetime"))
    }
    assert readers == REPORT_TIMES | CHOOSES_AN_ENGINE


def test_the_same_data_give_the_same_adapter_whatever_the_clocks_say(tmp_path, monkeypatch):
    def trained(name, seed):
        ticks = random.Random(seed)
        folder = tmp_path / name
        folder.mkdir()
        with monkeypatch.context() as patch:
            for clock in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
                now = [0.0]

                def read(now=now):
                    now[0] += 10 ** ticks.uniform(-4, 1)
                    return now[0]

                patch.setattr(time, clock, read)
            values = train.run(
                folder, spec(folder, recipe="quick"), ProgressLog(folder / "p.jsonl")
            )
        facts = json.loads((folder / "adapter" / "flywheel.json").read_text())
        return values["adapter"], facts["metrics"]

    first, metrics = trained("one", 0)
    assert [trained(name, seed)[0] for name, seed in (("two", 1), ("three", 2))] == [first, first]
    assert metrics["number_type"] in ("bfloat16", "float32")
