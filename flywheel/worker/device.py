"""Where a model computes, and the number type that it trains in.

Both decide the bits of an adapter, so they are looked up and never measured: a measurement
differs from run to run on a busy machine. Answers are float32 on every device, so that they agree
with plain `peft`.

Source: docs/adr/0058-no-clock-decides-what-is-learned.md, docs/adr/0059-device.md
"""

from __future__ import annotations

from pathlib import Path

import torch

from flywheel.errors import FlywheelError

CPU = torch.device("cpu")

_CPUINFO = Path("/proc/cpuinfo")
_BF16_CAPABILITY = (8, 0)  # of CUDA devices; older ones only emulate it


def find(name: str) -> torch.device:
    """The device for `[model] device`.

    Args:
        name: `cpu`, `cuda`, `cuda:N`, or `auto`: the first CUDA device, else the processor.

    Raises:
        FlywheelError: this machine has no such CUDA device.
    """
    count = torch.cuda.device_count() if name != "cpu" and torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not count):
        return CPU
    number = int(name.partition(":")[2] or 0)
    if number >= count:
        raise FlywheelError(
            f"device {name} is not there: this machine offers {count} CUDA devices to torch",
            hint='set [model] device to "auto" or "cpu", or install the driver and torch for CUDA',
        )
    return torch.device("cuda", number)


def use_threads(count: int) -> None:
    """Let torch compute with so many threads, in this whole process."""
    torch.set_num_threads(count)


def number_type(device: torch.device = CPU) -> torch.dtype:
    """bfloat16 where the device multiplies matrices of it in hardware, else float32."""
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= _BF16_CAPABILITY
    else:
        fast = bool(_flags(_CPUINFO) & {"avx512_bf16", "amx_bf16"})
    return torch.bfloat16 if fast else torch.float32


def _flags(path: Path) -> set[str]:
    """Flags of the first processor, as Linux lists them; empty where it lists none."""
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            lines = (line.partition(":") for line in file)
            return next((set(v.split()) for key, _, v in lines if key.strip() == "flags"), set())
    except OSError:
        return set()
