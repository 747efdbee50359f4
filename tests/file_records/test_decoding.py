"""Compression and encodings undone: in bounded memory, and what is good before a fault is kept."""

import bz2
import gzip
import io
import lzma
import zlib

import pyarrow
import pytest

from flywheel.errors import FlywheelError
from flywheel.file_records.decoding import Undecodable, inflated, original, plain

TEXT = "".join(f'{{"id": "p-{n}", "text": "réveille-moi à {n * n} h"}}\n' for n in range(9_000))
DATA = TEXT.encode()


def zstd(data):
    return pyarrow.compress(data, "zstd", asbytes=True)


PACKED = {
    "gzip": gzip.compress(DATA),
    "bzip2": bz2.compress(DATA),
    "xz": lzma.compress(DATA),
    "zstd": zstd(DATA),
}


def content(data, encoding=""):
    return b"".join(plain(io.BytesIO(data), encoding).pieces)


@pytest.mark.parametrize("name", PACKED)
def test_what_is_compressed_is_told_by_its_first_bytes(name):
    assert plain(io.BytesIO(PACKED[name])).compression == name
    assert content(PACKED[name]) == DATA
    assert content(PACKED[name] + PACKED[name]) == DATA + DATA
    assert content(gzip.compress(PACKED[name])) == DATA


@pytest.mark.parametrize("name", PACKED)
def test_a_stream_that_ends_early_says_so_behind_what_was_good(name):
    came = []
    with pytest.raises(Undecodable, match=f"the {name} data ends early"):
        for piece in plain(io.BytesIO(PACKED[name][:-9])).pieces:
            came.append(piece)  # noqa: PERF402
    assert DATA.startswith(b"".join(came))


@pytest.mark.parametrize("name", PACKED)
def test_a_damaged_stream_is_named(name):
    broken = bytearray(PACKED[name])
    broken[len(broken) // 2 :] = bytes(len(broken) - len(broken) // 2)
    with pytest.raises(Undecodable, match=f"the {name} data"):
        content(bytes(broken))


@pytest.mark.parametrize("pack", [bz2.compress, zstd])
def test_what_expands_without_end_is_refused(pack, monkeypatch):
    monkeypatch.setattr("flywheel.file_records.decoding._FREE", 1 << 20)
    with pytest.raises(Undecodable, match="expands to more than 2,000 times"):
        content(pack(bytes(40_000_000)))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_wide_encodings_are_told_by_their_mark_or_their_zeros(encoding):
    assert content(TEXT.encode(encoding)) == DATA
    assert content(gzip.compress(TEXT.encode(encoding))) == DATA


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "iso-8859-15", "utf-16", "utf-8-sig"])
def test_other_encodings_are_read_by_name(encoding):
    assert content(TEXT.encode(encoding), encoding).removeprefix(b"\xef\xbb\xbf") == DATA


def test_bytes_that_an_encoding_does_not_know_come_back_as_they_were():
    raw = '{"t": "音"}'.encode("gbk") + b"\xff"
    came = content(raw, "gbk")
    assert came == '{"t": "音"}'.encode() + b"\xff"
    assert original(came, "gbk") == raw


@pytest.mark.parametrize("name", ["klingon", "base64", "rot13", "undefined", "a\0b"])
def test_an_encoding_that_is_none_is_refused(name):
    with pytest.raises(FlywheelError, match="no encoding is called"):
        plain(io.BytesIO(DATA), name)


@pytest.mark.parametrize(
    ("codings", "body"),
    [
        (["gzip"], PACKED["gzip"]),
        (["x-gzip"], PACKED["gzip"]),
        (["deflate"], zlib.compress(DATA)),
        (["deflate"], zlib.compress(DATA, wbits=-15)),
        (["bz2"], PACKED["bzip2"]),
        (["xz"], PACKED["xz"]),
        (["zstd"], PACKED["zstd"]),
        (["gzip", "zstd"], zstd(PACKED["gzip"])),
        (["identity"], DATA),
        ([], PACKED["gzip"]),
        ([], DATA),
    ],
)
def test_bodies_lose_their_codings_and_are_bounded(codings, body):
    assert inflated(body, codings, len(DATA)) == DATA
    if codings != ["identity"] and body != DATA:
        assert len(inflated(body, codings, 1_000)) == 1_001


def test_a_coding_that_nobody_knows_is_named():
    with pytest.raises(Undecodable, match="the encoding br is not known"):
        inflated(DATA, ["br"], 1_000)
