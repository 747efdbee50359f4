"""Frozen states of texts, cached by content hash, and what adapted upper layers make of them.

A turn trains only the upper layers, so what the lower ones make of a text never changes. The
cache holds, for each text, the states below the first trained layer (float16, ten bits of
mantissa; bf16 has seven) and the pooled embedding of the whole frozen base (float32). Of a
base whose upper layers do not run alone it holds the token ids in place of states. Tensors in the
cache are on the processor; batches of them go to the model's device and come back.

The model itself is loaded when a text must be read, and not before: importing `transformers`
and making the model costs more than cached states of thousands of texts.

A text's states do not depend on the texts computed with it: the shape of the batch it is put in
is a function of its own length alone, so the same matrix kernel works on it each time. An
adapter's content id therefore does not depend on what was cached before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from flywheel import content, files
from flywheel.worker.device import CPU
from flywheel.worker.models import base as bases
from flywheel.worker.models.base import Base
from flywheel.worker.models.encoder.layers import Encoder, Upper, pool
from flywheel.worker.models.protocol import Report

_SEGMENT = 1024  # texts in one file of the cache
_CACHE_BYTES = 4 << 30  # the oldest segments above this are dropped
_GRAIN = 4  # rows are padded to a multiple of this many tokens


@dataclass(frozen=True, slots=True)
class States:
    """Frozen states of n texts, in the order asked for."""

    hidden: list[Tensor]  # n × float16 (length, width), or int64 (length,) token ids
    embedding: Tensor  # float32 (n, width), of length one

    def take(self, rows: Sequence[int]) -> States:
        """The states of some of the texts, by number."""
        return States([self.hidden[row] for row in rows], self.embedding[list(rows)])


class FrozenStates:
    """The lower layers of a base, with a cache. One process uses it at a time.

    Args:
        depth: number of layers that are not trained.
        cache_dir: None keeps states in memory only.
        load: loads the base, or hands out one that is loaded; None loads it.

    Attributes:
        depth: number of layers that are not trained; 0 where the base cannot be parted there.
    """

    def __init__(
        self,
        base: Base,
        depth: int,
        max_length: int,
        cache_dir: Path | None,
        device: torch.device = CPU,
        load: Callable[[], Encoder] | None = None,
    ) -> None:
        self.base = base
        self._load = load or (lambda: Encoder.load(base, device))
        self.max_length = max_length
        self.device = device
        self.cache_dir = cache_dir
        self.tokenizer: Tokenizer = bases.open_tokenizer(base, max_length)
        self._known: dict[str, tuple[Tensor, Tensor]] = {}
        self._folder: Path | None = None
        if cache_dir is not None:
            self._folder = cache_dir / f"{base.read_by}-{max_length}-{depth}"
            self._folder.mkdir(parents=True, exist_ok=True)
        self.depth = self._parted(depth)
        if self._folder is not None:
            self._read(self._folder)

    @property
    def kept(self) -> str:
        """What is kept of a text, for people."""
        if self.depth:
            return f"states below layer {self.depth}"
        return "token ids: the upper layers of this base do not run alone"

    @cached_property
    def encoder(self) -> Encoder:
        """The whole base, loaded when first asked for."""
        return self._load()

    def _parted(self, depth: int) -> int:
        """`depth` if the layers above it run alone, else 0; found out once and written down."""
        if not depth:
            return 0
        note = self._folder / "parted" if self._folder is not None else None
        known = _noted(note) if note is not None else None
        if known is not None:
            return depth if known else 0
        parted = self.encoder.replays(depth)
        if note is not None:
            with files.replacing(note, durable=False) as staged:
                staged.write_text("yes" if parted else "no", encoding="ascii")
        return depth if parted else 0

    def states(self, texts: Sequence[str], report: Report = lambda _: None) -> States:
        """States of `texts`; those not yet known are computed and kept."""
        keys = [content.states_key(text) for text in texts]
        missing = {k: t for k, t in zip(keys, texts, strict=True) if k not in self._known}
        order = sorted(missing, key=lambda k: (len(missing[k]), k))
        for start in range(0, len(order), _SEGMENT):
            segment = order[start : start + _SEGMENT]
            pairs = self._compute([missing[k] for k in segment])
            computed = dict(zip(segment, pairs, strict=True))
            self._known.update(computed)
            self._write(computed)
            report((start + len(segment)) / len(order))
        known = [self._known[key] for key in keys]
        embedding = torch.stack([e for _, e in known]) if known else torch.zeros(0, self.base.width)
        return States(hidden=[h for h, _ in known], embedding=embedding)

    def _compute(self, texts: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """Each text's states float16 (length, width) or ids, and its embedding (width,)."""
        encodings = bases.encode(self.tokenizer, texts)
        pairs: list[tuple[Tensor, Tensor] | None] = [None] * len(texts)
        encoder = self.encoder
        for rows in _batches(encodings):
            ids, mask = padded_ids([encodings[i] for i in rows], whole=True)
            with torch.inference_mode():
                low, top = encoder.read(ids, mask, self.depth)  # (batch, length, width) each
                low = low.half() if low.is_floating_point() else low
                embedding = pool(top, mask, self.base.pooling).cpu()  # (batch, width)
                low = low.cpu()
            for row, hidden, vector, n in zip(rows, low, embedding, mask.sum(1), strict=False):
                pairs[row] = (hidden[: int(n)].clone(), vector.clone())
        return [pair for pair in pairs if pair is not None]

    def _read(self, folder: Path) -> None:
        size = 0  # bytes
        for path in sorted(folder.glob("*.safetensors"), key=_age, reverse=True):
            size += path.stat().st_size
            if size > _CACHE_BYTES:
                path.unlink(missing_ok=True)
                continue
            try:
                with safe_open(path, "pt") as file:
                    keys = file.metadata()["keys"].split()
                    lengths = file.get_tensor("lengths").tolist()
                    hidden = file.get_tensor("hidden").split(lengths)
                    embedding = file.get_tensor("embedding")
            except (SafetensorError, OSError, KeyError):
                path.unlink(missing_ok=True)  # only a cache: computed again
                continue
            self._known.update(zip(keys, zip(hidden, embedding, strict=True), strict=True))

    def _write(self, computed: dict[str, tuple[Tensor, Tensor]]) -> None:
        if self._folder is None:
            return
        name = hashlib.sha256("".join(computed).encode()).hexdigest()[:24]
        path = self._folder / f"{name}.safetensors"
        tensors = {
            "lengths": torch.tensor([len(h) for h, _ in computed.values()]),
            "hidden": torch.cat([h for h, _ in computed.values()]),
            "embedding": torch.stack([e for _, e in computed.values()]),
        }
        with files.replacing(path, durable=False) as staged:
            save_file(tensors, staged, metadata={"keys": " ".join(computed)})


def padded_ids(encodings: Sequence[Encoding], *, whole: bool = False) -> tuple[Tensor, Tensor]:
    """Token ids int64 and mask bool, both (batch, length); the length fits the longest row.

    A `whole` batch has as many rows as that length asks for; the last ones may be empty.
    """
    length = _padded(max(len(e.ids) for e in encodings))
    batch = _batch_rows(length) if whole else len(encodings)
    ids = torch.zeros(batch, length, dtype=torch.int64)
    mask = torch.zeros(batch, length, dtype=torch.bool)
    for row, encoding in enumerate(encodings):
        ids[row, : len(encoding.ids)] = torch.tensor(encoding.ids)
        mask[row, : len(encoding.ids)] = True
    return ids, mask


def padded_states(
    hidden: Sequence[Tensor], dtype: torch.dtype, *, whole: bool = False
) -> tuple[Tensor, Tensor]:
    """States (batch, length, width) of `dtype`, or ids, and mask bool, both (batch, length).

    A `whole` batch is shaped as that of `padded_ids`; any other is as long as its longest row.
    """
    longest = max(len(h) for h in hidden)
    length = _padded(longest) if whole else longest
    batch = _batch_rows(length) if whole else len(hidden)
    lengths = torch.zeros(batch, dtype=torch.int64)
    lengths[: len(hidden)] = torch.tensor([len(h) for h in hidden])
    kind = dtype if hidden[0].is_floating_point() else hidden[0].dtype
    x = torch.zeros(batch, length, *hidden[0].shape[1:], dtype=kind)
    for row, states in enumerate(hidden):
        x[row, : len(states)] = states
    return x, torch.arange(length)[None, :] < lengths[:, None]


def length_batches(hidden: Sequence[Tensor]) -> Iterator[list[int]]:
    """Row numbers in batches of equal padded length, none larger than a whole batch."""
    return _grouped([len(h) for h in hidden])


def _batches(encodings: Sequence[Encoding]) -> Iterator[list[int]]:
    return _grouped([len(e.ids) for e in encodings])


def _grouped(lengths: Sequence[int]) -> Iterator[list[int]]:
    groups: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        groups.setdefault(_padded(length), []).append(row)
    for length in sorted(groups):
        size = _batch_rows(length)
        for start in range(0, len(groups[length]), size):
            yield groups[length][start : start + size]


def _batch_rows(length: int) -> int:
    return 32 if length <= 12 else 16


def _padded(length: int) -> int:
    return -(-length // _GRAIN) * _GRAIN


def _noted(note: Path) -> bool | None:
    """Whether a base can be parted, as it was written down; None without a whole note."""
    try:
        return {"yes": True, "no": False}.get(note.read_text(encoding="ascii", errors="replace"))
    except OSError:
        return None


def _age(path: Path) -> float:
    return path.stat().st_mtime


@dataclass(frozen=True, slots=True)
class AdaptedStates:
    """What the adapted encoder makes of n texts."""

    embedding: Tensor  # float32 (n, width), of length one
    tokens: list[Tensor]  # n × float32 (length, width); empty unless asked for


@torch.inference_mode()
def run_upper(
    upper: Upper,
    width: int,
    hidden: Sequence[Tensor],
    *,
    tokens: bool = False,
    report: Report = lambda _: None,
) -> AdaptedStates:
    """Run the upper layers over frozen states.

    Always float32, so that evaluation and serving agree with plain `peft` to rounding.

    Args:
        upper: with LoRA merged.
        width: of its states.
        hidden: n × float16 (length, width), states below its lowest layer, or token ids.
        tokens: keep the token states too; they cost 1.5 kB a token.
    """
    embedding = torch.zeros(len(hidden), width)
    token_states: list[Tensor] = [torch.zeros(0)] * len(hidden) if tokens else []
    done = 0
    for rows in length_batches(hidden):
        x, mask = padded_states([hidden[i] for i in rows], torch.float32, whole=True)
        top = upper.run(x, mask)  # (batch, length, width)
        embedding[rows] = pool(top, mask, upper.pooling)[: len(rows)].cpu()
        if tokens:
            for row, states in zip(rows, top, strict=False):
                token_states[row] = states[: len(hidden[row])].to(CPU, copy=True)
        done += len(rows)
        report(done / len(hidden))
    return AdaptedStates(embedding, token_states)
