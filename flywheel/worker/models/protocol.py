"""What every kind of model offers to the jobs, and the records that pass between them.

The jobs (`train`, `predict`, `crossfit`) work through these protocols alone. How a kind reads a
text, which weights it trains and how it turns states into an answer is its own business.
One process trains a model at a time, from one thread. Nothing here imports torch at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from flywheel.worker.dataset_rows import Split
    from flywheel.worker.learning_curve import CurveLine
    from flywheel.worker.progress import Part
    from flywheel.worker.recipes import Recipe

Report = Callable[[float], None]
"""Called with the fraction done, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """What is needed to open a model."""

    base: str  # as in [model] base
    max_length: int  # tokens; longer texts are cut
    device: str = "auto"  # as in [model] device
    cache_dir: Path | None = None  # for what a kind computes once for a text; None: nothing is kept
    bases_dir: Path | None = None  # where fetched bases lie; None: none is known

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> ModelSettings:
        """The settings in a job's spec."""
        return cls(
            base=spec["base"],
            max_length=int(spec["max_length"]),
            device=str(spec.get("device", "auto")),
            cache_dir=cache_dir(spec),
            bases_dir=bases_dir(spec),
        )


def bases_dir(spec: Mapping[str, Any]) -> Path | None:
    """The folder of fetched bases in a job's spec; None where it names none."""
    return Path(spec["bases_dir"]) if spec.get("bases_dir") else None


def cache_dir(spec: Mapping[str, Any]) -> Path | None:
    """The cache of a job's spec; None where it names none."""
    return Path(spec["cache_dir"]) if spec.get("cache_dir") else None


@dataclass(frozen=True, slots=True)
class Calls:
    """One answer a row."""

    intents: Sequence[str]  # `none` where nothing is to be called
    arguments: Sequence[Mapping[str, str]]
    confidence: Tensor  # float32 (n,), 0..1
    margin: Tensor | None = None  # float32 (n,): below 0 is `none`; None: there is no threshold
    tokens: Sequence[int] | None = None  # that were read of each text; None: not counted


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRequest:
    """One training: its rows, and what they are trained by."""

    train: Split
    dev: Split  # never trained on: an epoch and everything else is chosen on it; may be empty
    unseen: Sequence[str] = ()  # texts that are never learned: they carry a threshold to a refit
    labels: Sequence[str]  # the intents of `train`, sorted; those of `dev` may be others
    arguments: Mapping[str, Sequence[str]]  # names in each intent's schema
    recipe: Recipe  # as `Model.limited` returns it
    seed: int
    checkpoint: Path  # a file, written after each epoch and gone on from when it is there


class Answerer(Protocol):
    """Answers texts as a server does: the whole model, prepared once, without a cache.

    The evaluated answers to rounding; several threads may ask at a time.
    """

    @property
    def engine(self) -> str:
        """What computes."""

    @property
    def rule(self) -> Mapping[str, Any]:
        """What answers follow from beside the weights: fields of the adapter's `flywheel.json`."""

    def __call__(self, texts: Sequence[str]) -> Calls:
        """Answer each text."""

    def forward(self, texts: Sequence[str]) -> None:
        """Compute the texts' states in one batch, and nothing of them: for measurements."""


class TrainedModel(Protocol):
    """A model that answers."""

    @property
    def labels(self) -> Sequence[str]:
        """The intents that it can answer, `none` among them where it learned it."""

    @property
    def arguments(self) -> Mapping[str, Sequence[str]]:
        """Names of the arguments in each intent's schema, as they were at training."""

    @property
    def content_id(self) -> str:
        """`a-` and 12 hex digits: a hash of everything that an answer depends on."""

    @property
    def threshold(self) -> float:
        """Of the score below which a text is out of scope."""

    def answer(self, texts: Sequence[str], report: Report) -> Calls:
        """Answer each text; the answer does not depend on the texts asked with it."""

    @property
    def size(self) -> tuple[int, ...]:
        """Numbers by which models that take equally long are told: layers, width."""

    @property
    def engines(self) -> Sequence[str]:
        """What can compute its answers here, the one first that is usually the fastest."""

    def answerer(self, engine: str = "torch", threads: int = 1) -> Answerer:
        """The same model as a server asks it.

        Args:
            threads: of an engine that has its own; torch counts them for the whole process.

        Raises:
            FlywheelError: the model has no such engine.
        """

    def save(self, folder: Path, facts: Mapping[str, Any], *, graph: bool = False) -> str:
        """Write the adapter folder, durably, and return the content id.

        The folder holds a PEFT adapter and `flywheel.json` with at least kind, base, max_length
        and `facts`.

        Args:
            folder: made new; must not hold another adapter.
            facts: recipe, dataset, parent, metrics, code_version, created_at, seed.
            graph: write what a faster engine needs, too, where this machine can make it.
        """


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was chosen on the dev rows."""

    model: TrainedModel
    dev: Calls  # its answers on the dev rows
    facts: Mapping[str, Any]  # for the metrics, as JSON


class FittedModel(Protocol):
    """What a training leaves: weights, before anything is chosen on dev but the epoch."""

    @property
    def request(self) -> FitRequest:
        """What was asked for."""

    @property
    def curve(self) -> Sequence[CurveLine]:
        """Every epoch that was run; empty for a recipe without epochs."""

    @property
    def epoch(self) -> int:
        """The epoch whose weights are taken, 1..epochs; 0 for a recipe without epochs."""

    def scores(self, texts: Sequence[str]) -> Tensor:
        """Unnormalised log-probabilities float32 (n, labels) of each text's intent."""

    def choose(self) -> Chosen:
        """Choose on dev how scores become answers; without dev rows, what needs none."""

    def refit(self, train: Split, checkpoint: Path, report: Part) -> TrainedModel:
        """Train the same once more on other rows; what was chosen on dev stays chosen.

        Args:
            train: may hold dev rows, except those of `none`.
        """


class Model(Protocol):
    """One kind of model on one base, opened for a job."""

    def limited(self, recipe: Recipe) -> Recipe:
        """The recipe within what the base has, e.g. no more layers."""

    def prepare(self, texts: Sequence[str], recipe: Recipe, report: Report) -> None:
        """Compute what is computed once for a text; called with every text that `fit` will see."""

    def fit(self, request: FitRequest, report: Part) -> FittedModel:
        """Train on the request's rows, or go on from its checkpoint.

        The result depends on the request alone: not on the clock, nor on how often it was killed.

        Raises:
            FlywheelError: the training diverged, or the recipe does not fit the base.
        """

    def load(self, folder: Path) -> TrainedModel:
        """Read an adapter folder of this kind and base.

        Raises:
            FlywheelError: the folder is damaged, or the adapter belongs to other bytes of the base.
        """

    def embed(self, texts: Sequence[str], report: Report) -> Tensor:
        """What the base, untrained, makes of each text: float32 (n, width), of length one."""
