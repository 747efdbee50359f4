"""An adapter on disk: a standard PEFT folder, the heads, and what is known of it.

`adapter_config.json` and `adapter_model.safetensors` are written by `peft` and load with it on
the base; `heads.safetensors`, `flywheel.json` and a model card (`README.md`) stand beside them.
The id is a hash of what the adapter answers with; who trained it when is not part of it.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from flywheel import files
from flywheel.errors import FlywheelError
from flywheel.worker.logistic import Linear
from flywheel.worker.models.base import Pooling
from flywheel.worker.models.encoder import lora
from flywheel.worker.models.encoder.layers import Encoder
from flywheel.worker.models.encoder.out_of_scope import ScopeRule, Score
from flywheel.worker.models.encoder.text_segments import PATTERN

GRAPH = "graph.onnx"

Tagged = Literal["words", "segments"]
"""Parts of a text that are tagged; the pre-tokenizer's words in adapters of an earlier version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderAdapter:
    """Everything an answer depends on."""

    base: str
    base_sha256: str
    tokenizer_sha256: str  # of the base's tokenizer.json; "" in adapters of an earlier version
    max_length: int  # tokens
    depth: int  # layers below are the base's own
    rank: int
    alpha: int
    labels: Sequence[str]
    arguments: Mapping[str, Sequence[str]]  # of each intent's schema
    slots: Sequence[str]  # order of the tag head's columns
    scope: ScopeRule
    factors: Mapping[str, Tensor]  # of LoRA, float32, by the names that `peft` saves them under
    head: Linear
    tag_head: Linear | None
    pooling: Pooling = "mean"  # of the last states of a text
    tagged: Tagged = "segments"  # by the tag head, where there is one
    graph: bytes = b""  # for ONNX Runtime, without weights; b"": it is answered with torch

    @property
    def unchanged(self) -> bool:
        """Whether LoRA adds nothing to the base."""
        return not any(t.any() for name, t in self.factors.items() if ".lora_B." in name)

    @property
    def rounded_below(self) -> int:
        """The layer whose input is rounded to float16 in evaluated answers; 0 for none.

        They are computed from frozen states, which the cache keeps in float16.
        """
        return 0 if self.unchanged and self.tag_head is None else self.depth


def by_segments(adapter: EncoderAdapter) -> bool:
    """Whether the adapter tags the segments of a text."""
    return adapter.tag_head is not None and adapter.tagged == "segments"


def content_id(adapter: EncoderAdapter) -> str:
    """`a-` and 12 hex digits, over tensors, labels, arguments and threshold."""
    behaviour = _behaviour(adapter)
    del behaviour["base"]  # its hash says it; its name may be a path
    digest = hashlib.sha256(json.dumps(behaviour, sort_keys=True).encode())
    for name, tensor in sorted({**adapter.factors, **_head_tensors(adapter)}.items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return f"a-{digest.hexdigest()[:12]}"


def write(
    folder: Path,
    adapter: EncoderAdapter,
    encoder: Encoder,
    facts: Mapping[str, Any],
    card: str = "",
) -> str:
    """Write the folder, durably, and return the content id.

    Args:
        folder: made new; must not hold another adapter.
        facts: recipe, dataset, parent, metrics, code_version, created_at, seed.
        card: of the model, in Markdown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = content_id(adapter)
    lora.save(folder, encoder, adapter.depth, adapter.factors, adapter.alpha)
    save_file(_head_tensors(adapter), folder / "heads.safetensors", {"format": "pt"})
    own = {"format": 1, "id": name, "kind": "encoder", **_behaviour(adapter)}
    if by_segments(adapter):
        own["segments"] = PATTERN  # for programs without flywheel
    if adapter.graph:
        (folder / GRAPH).write_bytes(adapter.graph)
        own["graph_sha256"] = hashlib.sha256(adapter.graph).hexdigest()
    _dump(folder / "flywheel.json", {**own, **facts})
    (folder / "README.md").write_text(card, encoding="utf-8")
    _share(folder)
    files.sync_tree(folder)
    return name


def load(folder: Path) -> EncoderAdapter:
    """Read an adapter folder.

    Raises:
        FlywheelError: a file is missing or is not what `write` writes.
    """
    try:
        facts = _FACTS.decode((folder / "flywheel.json").read_bytes())
        factors = load_file(folder / "adapter_model.safetensors")
        heads = load_file(folder / "heads.safetensors")
        return _read(facts, factors, heads, _graph(folder, facts.graph_sha256))
    except _DAMAGED as error:
        raise FlywheelError(
            f"adapter {folder.name} cannot be read: {error}",
            hint=f"{folder} is damaged; restore it from a backup",
        ) from error


_Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class _Scope(msgspec.Struct, frozen=True):
    score: Score
    threshold: float


class _Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What of flywheel.json answers depend on; the file says more."""

    base: str
    base_sha256: str
    tokenizer_sha256: str = ""
    max_length: _Count
    depth: _Count
    rank: _Count
    alpha: _Count
    labels: list[str]
    arguments: dict[str, list[str]]
    slots: list[str]
    tagged: Tagged = "words"
    scope: _Scope
    pooling: str = "mean"
    graph_sha256: str = ""


_FACTS = msgspec.json.Decoder(_Facts)
_DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    RecursionError,
    SafetensorError,
    msgspec.MsgspecError,
)


def _graph(folder: Path, sha256: str) -> bytes:
    """The graph that the adapter was written with; b"" where it was written without one."""
    if not sha256:
        return b""
    graph = (folder / GRAPH).read_bytes()
    if hashlib.sha256(graph).hexdigest() != sha256:
        raise ValueError(f"{GRAPH} is not the one that it was trained with")
    return graph


def _read(
    facts: _Facts,
    factors: Mapping[str, Tensor],
    heads: Mapping[str, Tensor],
    graph: bytes,
) -> EncoderAdapter:
    has_tags = "tags.weight" in heads
    return EncoderAdapter(
        base=facts.base,
        base_sha256=facts.base_sha256,
        tokenizer_sha256=facts.tokenizer_sha256,
        max_length=facts.max_length,
        depth=facts.depth,
        rank=facts.rank,
        alpha=facts.alpha,
        labels=facts.labels,
        arguments=facts.arguments,
        slots=facts.slots,
        scope=ScopeRule(facts.scope.score, facts.scope.threshold),
        factors=factors,
        head=Linear(heads["intents.weight"], heads["intents.bias"]),
        tag_head=Linear(heads["tags.weight"], heads["tags.bias"]) if has_tags else None,
        pooling=_pooling(facts.pooling),
        tagged=facts.tagged,
        graph=graph,
    )


def _pooling(said: str) -> Pooling:
    """`mean` of `mean, length one`."""
    named = said.split(",")[0]
    for pooling in get_args(Pooling):
        if pooling == named:
            found: Pooling = pooling
            return found
    raise ValueError(f"`pooling` is {said!r}, not one of {', '.join(get_args(Pooling))}")


def _behaviour(adapter: EncoderAdapter) -> dict[str, Any]:
    # What earlier adapters do not say is left out for them, so that they keep their ids.
    tokenizer = {"tokenizer_sha256": adapter.tokenizer_sha256} if adapter.tokenizer_sha256 else {}
    tagged = {"tagged": adapter.tagged} if by_segments(adapter) else {}
    return {
        "base": adapter.base,
        "base_sha256": adapter.base_sha256,
        **tokenizer,
        "max_length": adapter.max_length,
        "pooling": f"{adapter.pooling}, length one",
        "depth": adapter.depth,
        "rank": adapter.rank,
        "alpha": adapter.alpha,
        "labels": list(adapter.labels),
        "arguments": {name: sorted(adapter.arguments[name]) for name in sorted(adapter.arguments)},
        "slots": list(adapter.slots),
        **tagged,
        "scope": asdict(adapter.scope),
    }


def _head_tensors(adapter: EncoderAdapter) -> dict[str, Tensor]:
    tensors = {"intents.weight": adapter.head.weight, "intents.bias": adapter.head.bias}
    if adapter.tag_head is not None:
        tensors |= {"tags.weight": adapter.tag_head.weight, "tags.bias": adapter.tag_head.bias}
    return {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}


def _dump(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _share(folder: Path) -> None:
    """Give every file the mode that the umask gives new ones: safetensors makes its own 0600."""
    mode = stat.S_IMODE((folder / "flywheel.json").stat().st_mode)
    for path in folder.iterdir():
        path.chmod(mode)
