"""Names of people in a text, by a spaCy pipeline that the configuration names.

Such models come from a hub or a package index of the user's choice, so none is shipped: without
`[teacher] names_model` names are not looked for. One that is configured and cannot be loaded stops
the teacher: nothing leaves the machine less hidden than was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from flywheel.errors import FlywheelError

Names = Callable[[str], Sequence[tuple[int, int]]]
"""Gives the places of people's names in a text: start and end, in characters."""

_PEOPLE = frozenset({"PERSON", "PER"})  # as OntoNotes and as CoNLL call them


@lru_cache(maxsize=1)
def finder(model: str) -> Names | None:
    """What finds names by this pipeline, a package or a folder; None where `model` is empty.

    Raises:
        FlywheelError: spaCy is not installed, it cannot load the pipeline, or the pipeline names
            no entities.
    """
    if not model:
        return None
    try:
        import spacy
    except ImportError as error:
        raise FlywheelError(
            "[teacher] names_model needs spaCy, which is not installed",
            hint="pip install 'flywheel[names]'",
        ) from error
    try:
        pipeline = spacy.load(model)
    except (OSError, ValueError, ImportError) as error:
        raise FlywheelError(
            f"[teacher] names_model: spaCy cannot load {model!r}: {error}",
            hint="name an installed pipeline, such as en_core_web_sm, or the folder of one",
        ) from error
    if not {"ner", "entity_ruler"} & set(pipeline.pipe_names):
        raise FlywheelError(
            f"[teacher] names_model: the pipeline {model!r} has no `ner`, so it finds no names",
            hint="choose one that recognises entities",
        )
    return lambda text: _people(pipeline, text)


def _people(pipeline: Any, text: str) -> list[tuple[int, int]]:
    return [
        (entity.start_char, entity.end_char)
        for entity in pipeline(text).ents
        if entity.label_ in _PEOPLE
    ]
