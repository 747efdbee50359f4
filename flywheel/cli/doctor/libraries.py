"""The installed libraries: are they of versions that flywheel is known to work with?

The ranges are those of the package's own metadata, and so of pyproject.toml: a version that is
known to fail is excluded there, and thereby here.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from flywheel.cli.doctor.finding import Finding, fail, ok, warn

_NAMED = ("duckdb", "torch", "transformers", "peft")  # what an upgrade breaks most


def libraries() -> Iterator[Finding]:
    """Whether each library is there, in a version of its range; extras only where installed."""
    try:
        lines = requires("flywheel") or []
    except PackageNotFoundError:
        todo = "install it: `python -m pip install .` in its checkout"
        yield warn("libraries", "flywheel is not installed, so no version was checked", todo)
        return
    wrong = [found for line in lines if (found := _out_of_range(Requirement(line)))]
    if wrong:
        needs = " ".join(shlex.quote(f"{each.name}{each.specifier}") for each, _ in wrong)
        yield fail(
            "libraries",
            "; ".join(text for _, text in wrong),
            f"{shlex.quote(sys.executable)} -m pip install {needs}",
        )
        return
    named = ", ".join(f"{name} {version(name)}" for name in _NAMED)
    yield ok("libraries", f"{named}; every version is in its range")


def _out_of_range(each: Requirement) -> tuple[Requirement, str] | None:
    """What is wrong with an installed library, in words; what only developers need never is."""
    needed = each.marker is None or each.marker.evaluate({"extra": ""})
    if not needed and each.marker and each.marker.evaluate({"extra": "dev"}):
        return None
    try:
        present = version(each.name)
    except PackageNotFoundError:
        return (each, f"{each.name} is not installed") if needed else None
    if each.specifier.contains(present, prereleases=True):
        return None
    return each, f"{each.name} {present} is not in {each.specifier}"
