"""What an adapter learns does not depend on a clock: the number type is looked up, not timed."""

import ast
import json
import random
import time
from pathlib import Path

import pytest
import torch
from tiny_training import spec

from flywheel.worker import device, train
from flywheel.worker.progress import ProgressLog

WORKER = Path(device.__file__).parent
READ_A_CLOCK = {"jobs.py", "progress.py", "predict.py"}  # they report times and decide nothing


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


def test_where_nothing_is_known_of_the_processor_it_is_float32(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "_CPUINFO", tmp_path / "absent")
    assert device.number_type() == torch.float32


def test_only_what_reports_times_reads_a_clock():
    readers = {
        path.name
        for path in WORKER.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and {"time", "timeit"} & {a.name for a in node.names})
        or (isinstance(node, ast.ImportFrom) and node.module in ("time", "timeit", "datetime"))
    }
    assert readers == READ_A_CLOCK


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
