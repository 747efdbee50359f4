"""The kinds of model that can be trained, one row each, and how a job opens one.

The base decides the kind: the first row that takes its config.json. An adapter names its kind in
`flywheel.json`. Nothing here imports torch, so a check of the base costs milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flywheel.errors import FlywheelError
from flywheel.worker.models import base as bases
from flywheel.worker.models.base import Base
from flywheel.worker.models.protocol import Model, ModelSettings, TrainedModel


@dataclass(frozen=True, slots=True)
class ModelKind:
    """One kind of model."""

    name: str  # as in flywheel.json
    takes: Callable[[Base], bool]  # whether it can be trained on this base
    opener: Callable[[Base, ModelSettings], Model]  # imports the kind's module when called


def _encoder(base: Base, settings: ModelSettings) -> Model:
    from flywheel.worker.models.encoder.model import EncoderModel

    return EncoderModel(base, settings)


KINDS = (ModelKind("encoder", lambda base: not base.config.get("is_encoder_decoder"), _encoder),)

_OLDEST = "encoder"  # the kind of adapters from before kinds were written down


def find_base(name: str) -> tuple[Base, ModelKind]:
    """The base of that name, checked, and the kind of model that is trained on it.

    Raises:
        FlywheelError: no such base, not the published bytes, or no kind takes it.
    """
    base = bases.load(name)
    kind = next((kind for kind in KINDS if kind.takes(base)), None)
    if kind is None:
        raise bases.not_an_encoder(name, base.config)
    return base, kind


def open_model(settings: ModelSettings) -> Model:
    """The model to train on the base that the settings name."""
    base, kind = find_base(settings.base)
    return kind.opener(base, settings)


def load(
    folders: Mapping[str, Path], *, device: str = "auto", cache_dir: Path | None = None
) -> dict[str, TrainedModel]:
    """The adapters in the folders, by the same names; those on one base share it.

    Args:
        device, cache_dir: see `ModelSettings`; base and length are those of each adapter.

    Raises:
        FlywheelError: a folder is damaged, or its base is not the one it was trained on.
    """
    opened: dict[tuple[str, ModelSettings], Model] = {}
    loaded: dict[str, TrainedModel] = {}
    for name, folder in folders.items():
        kind, base, max_length = _facts(folder)
        settings = ModelSettings(
            base=base, max_length=max_length, device=device, cache_dir=cache_dir
        )
        if (kind.name, settings) not in opened:
            opened[kind.name, settings] = kind.opener(bases.load(base), settings)
        loaded[name] = opened[kind.name, settings].load(folder)
    return loaded


def _facts(folder: Path) -> tuple[ModelKind, str, int]:
    """An adapter's kind, base and max_length."""
    try:
        facts: dict[str, Any] = json.loads((folder / "flywheel.json").read_text(encoding="utf-8"))
        kinds = {kind.name: kind for kind in KINDS}
        kind = kinds[facts.get("kind", _OLDEST)]
        return kind, str(facts["base"]), int(facts["max_length"])
    except (OSError, ValueError, KeyError) as error:
        raise FlywheelError(
            f"adapter {folder.name} cannot be read: {error}",
            hint=f"{folder} is damaged; restore it from a backup",
        ) from error
