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

from flywheel.bases import fetching
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


def find_base(name: str, bases_dir: Path | None = None) -> tuple[Base, ModelKind]:
    """The base of that name, checked, and the kind of model that is trained on it.

    Args:
        bases_dir: where fetched bases lie; None: none is known.

    Raises:
        FlywheelError: no such base, not the published bytes, or no kind takes it.
    """
    base = bases.load(name, bases_dir)
    kind = next((kind for kind in KINDS if kind.takes(base)), None)
    if kind is None:
        raise bases.not_an_encoder(name, base.config)
    return base, kind


def open_model(settings: ModelSettings) -> Model:
    """The model to train on the base that the settings name."""
    base, kind = find_base(settings.base, settings.bases_dir)
    return kind.opener(base, settings)


class OpenModels:
    """The models opened so far: adapters on one base share it, however many are loaded.

    Args:
        device, cache_dir: see `ModelSettings`; base and length are those of each adapter.
        bases_dir: where fetched bases lie; None: beside the folder that holds the adapter's.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        cache_dir: Path | None = None,
        bases_dir: Path | None = None,
    ) -> None:
        self._device, self._cache_dir, self._bases_dir = device, cache_dir, bases_dir
        self._opened: dict[tuple[str, str], Model] = {}

    def load(self, folder: Path) -> TrainedModel:
        """The adapter in the folder.

        Raises:
            FlywheelError: the folder is damaged, or its base is not the one it was trained on.
        """
        kind, base, max_length = _facts(folder)
        if (kind.name, base) not in self._opened:
            settings = ModelSettings(
                base=base, max_length=max_length, device=self._device, cache_dir=self._cache_dir
            )
            under = self._bases_dir or fetching.bases_dir(folder.resolve().parent.parent)
            self._opened[kind.name, base] = kind.opener(bases.load(base, under), settings)
        return self._opened[kind.name, base].load(folder)


def load(
    folders: Mapping[str, Path],
    *,
    device: str = "auto",
    cache_dir: Path | None = None,
    bases_dir: Path | None = None,
) -> dict[str, TrainedModel]:
    """The adapters in the folders, by the same names; see `OpenModels`."""
    opened = OpenModels(device=device, cache_dir=cache_dir, bases_dir=bases_dir)
    return {name: opened.load(folder) for name, folder in folders.items()}


def read_facts(folder: Path) -> dict[str, Any]:
    """What an adapter's `flywheel.json` says.

    Raises:
        FlywheelError: there is no such file, or it is not a JSON object.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / "flywheel.json").read_text(encoding="utf-8"))
        if not isinstance(facts, dict):
            raise ValueError("flywheel.json is not a JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(folder, error) from error
    return facts


def unreadable(folder: Path, cause: object) -> FlywheelError:
    """The error for an adapter folder that is not what training writes."""
    return FlywheelError(
        f"adapter {folder.name} cannot be read: {cause}",
        hint=f"{folder} is damaged; restore it from a backup",
    )


def _facts(folder: Path) -> tuple[ModelKind, str, int]:
    """An adapter's kind, base and max_length."""
    facts = read_facts(folder)
    try:
        kinds = {kind.name: kind for kind in KINDS}
        kind = kinds[facts.get("kind", _OLDEST)]
        return kind, str(facts["base"]), int(facts["max_length"])
    except (TypeError, ValueError, KeyError) as error:
        raise unreadable(folder, error) from error
