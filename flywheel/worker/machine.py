"""How this machine trains fastest: measured once, and kept beside the states.

Which number type and which attention are fast depends on the processor and on the build of torch
more than on anything one could look up. A step of one layer is timed in each way. What stands to
reason is taken unless another way is faster by far, so that chance in the timing does not decide
what adapter comes out of the same data.

Answers are not computed this way: they are float32 for all, so that they agree with plain `peft`,
and there the two attentions take the same time.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from flywheel.worker import lora
from flywheel.worker.encoder import EAGER, Encoder

_FILE = "machine.json"
_FASTER = 1.25  # times, before another way than the expected one is taken
_ROWS, _LENGTH = 32, 12  # of a batch of short texts
_RANK = 16
_REPEATS = 3
_UNABLE = (RuntimeError, ValueError, ImportError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Way:
    """What the layers that are trained compute in."""

    dtype: Literal["bfloat16", "float32"]
    attention: Literal["eager", "sdpa"]

    @property
    def type(self) -> torch.dtype:
        """As torch names it."""
        return torch.bfloat16 if self.dtype == "bfloat16" else torch.float32


def fastest(encoder: Encoder, cache_dir: Path | None, threads: int) -> Way:
    """The way to train here; measured where it is not known yet, a second of work.

    Without a folder to keep it in nothing is measured, and the expected way is returned.
    """
    expected = Way("bfloat16" if has_bf16() else "float32", EAGER)
    if cache_dir is None:
        return expected
    path = cache_dir / _FILE
    key = (
        f"{_processor()}, {threads} threads, torch {torch.__version__}, {encoder.base.sha256[:16]}"
    )
    kept = _kept(path)
    if key not in kept:
        kept[key] = choose(expected, lambda way: _seconds(encoder, way))
        staged = path.with_suffix(".tmp")
        told = {each: asdict(way) for each, way in kept.items()}
        staged.write_text(json.dumps(told, indent=1), encoding="utf-8")
        staged.replace(path)
    return kept[key]


def choose(expected: Way, seconds: Callable[[Way], float]) -> Way:
    """The expected way, or the fastest of the others where it is faster by far.

    Args:
        seconds: that a step takes in a way; infinite where it cannot be done.
    """
    others: Sequence[Way] = [
        Way(dtype, attention)
        for dtype in ("bfloat16", "float32")
        for attention in ("eager", "sdpa")
        if Way(dtype, attention) != expected
    ]
    usual = seconds(expected)
    taken = {way: seconds(way) for way in others}
    best = min(others, key=lambda way: taken[way])
    return best if taken[best] * _FASTER < usual else expected


def has_bf16() -> bool:
    """Whether this processor multiplies bf16 matrices in hardware."""
    flags = _told("flags").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _seconds(encoder: Encoder, way: Way) -> float:
    """Processor seconds of a step of the top layer, the least of a few."""
    depth = encoder.base.depth - 1
    if not encoder.replays(depth):
        depth = 0
    try:
        upper = lora.wrap(encoder, depth, _RANK, 2 * _RANK, 0, way.type, way.attention)
        factors = list(lora.names(upper.model).values())
        mask = torch.ones(_ROWS, _LENGTH, dtype=torch.bool)
        x = torch.zeros(_ROWS, _LENGTH, dtype=torch.int64)
        x = x if not depth else torch.ones(*x.shape, encoder.base.width, dtype=way.type)
        taken = []
        for _ in range(1 + _REPEATS):
            began = time.process_time()
            torch.autograd.grad(upper.run(x, mask).float().square().mean(), factors)
            taken.append(time.process_time() - began)
    except _UNABLE:
        return float("inf")
    return min(taken[1:])


def _kept(path: Path) -> dict[str, Way]:
    """What was measured before; nothing where the file is damaged."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return {key: Way(way["dtype"], way["attention"]) for key, way in told.items()}
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return {}


def _processor() -> str:
    return _told("model name") or platform.processor() or platform.machine()


def _told(name: str) -> str:
    """What Linux says of the first processor; empty elsewhere."""
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as file:
            lines = (line.partition(":") for line in file)
            return next((value.strip() for key, _, value in lines if key.strip() == name), "")
    except OSError:
        return ""
