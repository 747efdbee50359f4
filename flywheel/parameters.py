"""Do a call's arguments fit the intent's JSON Schema, and is that a schema at all?

By the library `jsonschema-rs`, draft 2020-12 unless the schema names another. Nothing is fetched:
a reference stays inside of its schema. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from flywheel.content import canonical
from flywheel.records import NONE, Arguments, Intent

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator

_STEPS = 100_000  # of backtracking in one match of a pattern: milliseconds
_VALUE = "the value"  # stands for it in messages, however long it is
_CLOSING = {"additionalProperties", "unevaluatedProperties"}


class Problem(NamedTuple):
    """What is wrong, and where."""

    path: str  # `arguments.days[1]`, `parameters.properties.days.type`
    why: str  # what follows the path in a sentence

    def __str__(self) -> str:
        return f"{self.path} {self.why}"


def schema_problem(intent: Intent) -> Problem | None:
    """Return why an intent's parameters are no JSON Schema that can be used; None: they are.

    A reference to another document, a pattern that is none and an unknown `$schema` are such.
    """
    from jsonschema_rs import ValidationError

    try:
        _compiled(intent.parameters)
    except ValidationError as error:
        return Problem(_path("parameters", error.instance_path), f"is not valid: {error.message}")
    except (ValueError, TypeError) as error:  # what JSON has not: dates, infinity
        return Problem("parameters", f"cannot be read: {error}")
    return None


def argument_problems(
    intent: Intent, arguments: Arguments | None, *, complete: bool
) -> tuple[Problem, ...]:
    """Return what is wrong with a call's arguments, by path; empty when they fit.

    Args:
        intent: `none` takes no arguments at all. Its parameters have no `schema_problem`.
        arguments: None: they were not judged, so nothing can be wrong with them.
        complete: also ask for the required ones, and refuse those the schema does not list. A
            teacher's sample is; what a person corrected may name the wrong part alone.
    """
    if arguments is None:
        return ()
    if intent.name == NONE:
        return (Problem("arguments", f"must be empty: `{NONE}` takes none"),) if arguments else ()
    text = canonical(_closed(intent.parameters) if complete else intent.parameters)
    errors = _validator(text).iter_errors(dict(arguments))
    found = {each for error in errors if complete or _stands(error) for each in _problems(error)}
    return tuple(sorted(found))


def _closed(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema without arguments that it does not list, unless it says that it takes others."""
    if not parameters.get("properties") or _CLOSING & parameters.keys():
        return parameters
    earlier = "$schema" in parameters  # drafts that do not know the other keyword
    return {**parameters, "additionalProperties" if earlier else "unevaluatedProperties": False}


@lru_cache(maxsize=1024)
def _validator(schema: str) -> Validator:
    return _compiled(json.loads(schema))


def _compiled(schema: Mapping[str, Any]) -> Validator:
    """Raises ValidationError for what is no schema, ValueError for what is no JSON."""
    from jsonschema_rs import FancyRegexOptions, validator_for

    return validator_for(
        dict(schema),
        offline=True,
        mask=_VALUE,
        pattern_options=FancyRegexOptions(backtrack_limit=_STEPS),
    )


def _stands(error: ValidationError) -> bool:
    """Whether an error is more than something left out."""
    from jsonschema_rs import ValidationErrorKind as Kind

    kind = error.kind
    if isinstance(kind, (Kind.Required, Kind.MinProperties)):
        return False
    if isinstance(kind, (Kind.AnyOf, Kind.OneOfNotValid)):
        return all(any(map(_stands, choice)) for choice in kind.context)
    return True


def _problems(error: ValidationError) -> Iterator[Problem]:
    from jsonschema_rs import ValidationErrorKind as Kind

    kind, path = error.kind, _path("arguments", error.instance_path)
    if isinstance(kind, Kind.Required):
        yield Problem(f"{path}.{kind.property}", "is missing")
    elif isinstance(kind, (Kind.AdditionalProperties, Kind.UnevaluatedProperties)):
        for name in kind.unexpected:
            yield Problem(f"{path}.{name}", "is not in the schema")
    elif isinstance(kind, Kind.FalseSchema):
        yield Problem(path, "is not allowed by the schema")
    elif error.message.startswith(f"{_VALUE} "):
        yield Problem(path, error.message.removeprefix(f"{_VALUE} "))
    else:
        yield Problem(path, f"does not fit `{kind.name}`: {error.message}")


def _path(root: str, steps: Sequence[str | int]) -> str:
    """The place as a person writes it."""
    return root + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
