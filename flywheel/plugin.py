"""A plug-in's file, imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from flywheel.errors import ConfigError


def import_file(path: Path) -> ModuleType:
    """The module in a file, under a name that no installed one has.

    Raises:
        ConfigError: it cannot be imported, or breaks when it is.
    """
    spec = importlib.util.spec_from_file_location(f"flywheel_plugin_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a stranger's code may raise anything at import
        raise ConfigError(
            f"{path} fails on import: {type(error).__name__}: {error}",
            hint="mend it; `flywheel plugins check` tries it again",
        ) from error
    return module
