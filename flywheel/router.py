"""The library: load an adapter, and answer texts with it in this process.

Loading proves what was loaded: the content id is recomputed from the files as they were read, the
base is compared by its hash, and the adapter's test vector is answered anew. Nothing here reads
the database, so it says nothing of who approved the adapter; `flywheel serve` and the daemon do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flywheel.content import content_id
from flywheel.errors import FlywheelError

if TYPE_CHECKING:
    from flywheel.worker.known_answers import KnownAnswer
    from flywheel.worker.models import OpenModels
    from flywheel.worker.models.protocol import Answerer, Calls, TrainedModel

Engine = Literal["auto", "torch", "onnx"]

_CHAMPION = ("champion", "adapters/champion")
_NAMED_BY_CONTENT = re.compile(r"a-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a text asks for, as one adapter sees it."""

    intent: str  # `none` where nothing is to be called
    arguments: Mapping[str, Any]  # values as said in the text
    confidence: float  # 0..1
    adapter: str  # content id of the adapter that answered
    tokens: int = field(default=0, compare=False, repr=False)  # that it read of the text


class Router:
    """One loaded adapter. Several threads may call it at a time.

    Attributes:
        adapter: content id, recomputed from what was read.
        labels: the intents that it was trained on, sorted.
        arguments: names of the arguments in each intent's schema at training.
        tools: fingerprint of both; adapters that can answer the same calls have the same.
        engine: what computes: `torch` or `onnx`.
        proved: number of texts of the test vector that it answered as they were evaluated; 0 for
            an adapter of an earlier version, which carries none, and where `verify` was not asked.
    """

    adapter: str
    labels: tuple[str, ...]
    arguments: Mapping[str, tuple[str, ...]]
    tools: str
    engine: str
    proved: int

    def __init__(
        self,
        name: str,
        model: TrainedModel,
        answerer: Answerer,
        known: Sequence[KnownAnswer],
        opened: OpenModels,
    ) -> None:
        """Use `Router.load`."""
        self.adapter, self.engine, self.proved = name, answerer.engine, 0
        self.labels = tuple(model.labels)
        self.arguments = {
            intent: tuple(sorted(model.arguments.get(intent, ()))) for intent in self.labels
        }
        self.tools = content_id("t", self.arguments)
        self._answerer, self._known, self._opened = answerer, known, opened

    @classmethod
    def load(
        cls,
        adapter: Path | str,
        *,
        engine: Engine = "auto",
        threads: int = 1,
        device: str = "auto",
        beside: Router | None = None,
        bases: Path | None = None,
        verify: bool = True,
    ) -> Router:
        """Load an adapter and prove that it is what was evaluated.

        Args:
            adapter: an adapter's folder, or a state folder or folder of adapters: its champion.
            engine: what computes; `auto` is the fastest that gives the evaluated answers.
            threads: of the processor for one answer; torch counts them for the whole process.
            device: as in `[model] device`.
            beside: a loaded router; an adapter on the same base then shares its memory.
            bases: where `flywheel base fetch` put the base; None: in the adapter's state folder.
            verify: answer the adapter's test vector and compare.

        Raises:
            FlywheelError: the folder is damaged or not what its id says, its base is another, or
                an answer differs from the evaluated one; the message names the first such text.
        """
        folder = find(adapter)
        _refuse_unknown(engine)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from flywheel.worker import device as devices
        from flywheel.worker import known_answers, models

        devices.use_threads(threads)
        opened = beside._opened if beside else models.OpenModels(device=device, bases_dir=bases)
        model = opened.load(folder)
        name = _checked_id(folder, models.read_facts(folder), model.content_id)
        known = known_answers.read(folder)
        chosen: str = engine
        if engine == "auto" and beside is not None and beside.engine in model.engines:
            chosen = beside.engine
        answerer = _answerer(model, chosen, folder, threads)
        router = cls(name, model, answerer, known, opened)
        difference = router.verify() if verify else ""
        if difference and engine == "auto" and router.engine != "torch":
            router = cls(name, model, model.answerer("torch", threads), known, opened)
            difference = router.verify()
        if difference:
            raise _not_as_evaluated(name, difference)
        return router

    @property
    def rule(self) -> Mapping[str, Any]:
        """What answers follow from beside the weights, as it is in use: fields of `flywheel.json`.

        Labels, `max_length`, and the score and threshold of `none`.
        """
        return self._answerer.rule

    def answer(self, text: str) -> Answer:
        """Answer one text."""
        return self.answer_batch([text])[0]

    def answer_batch(self, texts: Sequence[str]) -> list[Answer]:
        """Answer texts, in their order; those of similar length are computed together."""
        if isinstance(texts, str):
            raise TypeError("answer_batch takes a list of texts; `answer` takes one")
        answered = self._calls(texts)
        rows = zip(answered.intents, answered.arguments, answered.confidence.tolist(), strict=True)
        tokens = answered.tokens or [0] * len(texts)
        return [
            Answer(intent, values, sure, self.adapter, read)
            for (intent, values, sure), read in zip(rows, tokens, strict=True)
        ]

    def forward(self, texts: Sequence[str]) -> None:
        """Compute the states of texts, together, and throw them away: what answers cost at least.

        For measurements. Texts go through the model in one batch, from their tokens to its states.
        """
        self._answerer.forward(texts)

    def verify(self) -> str:
        """Answer the adapter's test vector; return "" or the first difference from it."""
        from flywheel.worker import known_answers

        answered = self._calls([line.text for line in self._known])
        difference = known_answers.first_difference(self._known, answered)
        self.proved = 0 if difference else len(self._known)
        return difference

    def _calls(self, texts: Sequence[str]) -> Calls:
        return self._answerer(texts)


def find(place: Path | str) -> Path:
    """The adapter's folder that a path names: itself, or the champion of a state folder.

    Raises:
        FlywheelError: there is no adapter.
    """
    place = Path(place)
    if (place / "flywheel.json").exists():
        return place.resolve()
    for name in _CHAMPION:
        link = place / name
        if (link / "flywheel.json").exists():
            return link.resolve()
        if link.is_symlink():
            raise FlywheelError(
                f"the champion of {place} is {link.readlink()}, and it has no adapter's folder",
                hint="restore its folder from a backup, or take another: `flywheel adapters list`",
            )
    if (place / "adapter_model.safetensors").exists() or (place / "heads.safetensors").exists():
        raise FlywheelError(
            f"adapter {place.name} cannot be read: flywheel.json is missing",
            hint=f"{place} is damaged or was copied in part; copy it again",
        )
    raise FlywheelError(
        f"{place} is no adapter's folder, and has no champion",
        hint="name a folder of `flywheel adapters list`, or a state folder with a champion; a "
        "production model that is known by its answers has no files that could be loaded",
    )


def _refuse_unknown(engine: str) -> None:
    if engine not in ("auto", "torch", "onnx"):
        raise FlywheelError(f"there is no engine {engine!r}", hint='use "auto", "torch" or "onnx"')


def _answerer(model: TrainedModel, engine: str, folder: Path, threads: int) -> Answerer:
    """What answers by an engine; `auto`: by the fastest one here."""
    from flywheel.worker import engine_choice

    if engine == "auto":
        return engine_choice.fastest(model, folder, threads)
    return model.answerer(engine, threads)


def _not_as_evaluated(name: str, difference: str) -> FlywheelError:
    return FlywheelError(
        f"adapter {name} does not answer as it was evaluated: {difference}",
        hint="the base, a library or the engine differs from what it was trained with; "
        'try engine="torch", or train again',
    )


def _checked_id(folder: Path, facts: Mapping[str, Any], found: str) -> str:
    """The content id, when it is the one that the folder's files and name say."""
    named = folder.name if _NAMED_BY_CONTENT.fullmatch(folder.name) else found
    for said, where in ((str(facts.get("id")), "flywheel.json"), (named, "its folder's name")):
        if said != found:
            raise FlywheelError(
                f"adapter {folder.name}: its files are those of {found}, and {where} says {said}",
                hint=f"{folder} was changed or mixed with another; copy it again from the daemon's "
                "adapters folder, or restore it from a backup",
            )
    return found
