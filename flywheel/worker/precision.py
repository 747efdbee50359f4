"""The number type that training computes in: what this processor multiplies in hardware.

It decides the bits of the adapter, so it is looked up and never measured: a measurement differs
from run to run on a busy machine. Answers are float32 everywhere, so that they agree with plain
`peft`.

Source: docs/adr/0058-no-clock-decides-what-is-learned.md
"""

from __future__ import annotations

from pathlib import Path

import torch

_CPUINFO = Path("/proc/cpuinfo")


def number_type() -> torch.dtype:
    """bfloat16 where the processor has instructions for its matrix products, else float32."""
    flags = _flags(_CPUINFO)
    return torch.bfloat16 if flags & {"avx512_bf16", "amx_bf16"} else torch.float32


def _flags(path: Path) -> set[str]:
    """Flags of the first processor, as Linux lists them; empty where it lists none."""
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            lines = (line.partition(":") for line in file)
            return next((set(v.split()) for key, _, v in lines if key.strip() == "flags"), set())
    except OSError:
        return set()
