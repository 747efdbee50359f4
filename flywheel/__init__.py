"""flywheel keeps a small production model getting better by itself."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flywheel.router import Answer, Router

__version__ = "0.2.0"

__all__ = ["Answer", "Router", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the library's names when they are asked for: most of flywheel needs none of them."""
    if name in ("Answer", "Router"):
        return getattr(importlib.import_module("flywheel.router"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
