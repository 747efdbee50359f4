"""Bytes of a file or a body as plain UTF-8: compression and other encodings undone, as a stream.

Compression (gzip, bzip2, xz, zstd, LZ4) and UTF-16 and UTF-32 are told by their first bytes; any
other encoding must be named. Memory is bounded: what expands without end is refused. Bytes that
the named encoding does not know stay as they are, so that nothing is destroyed: such a line is
not UTF-8 afterwards, and `original` restores it.
"""

from __future__ import annotations

import bz2
import codecs
import io
import itertools
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from flywheel.errors import FlywheelError

PIECE = 1 << 16  # bytes read at a time
_FREE = 64 << 20  # bytes that may come out whatever went in
_RATIO = 2_000  # bytes out for one in; gzip ends at 1,030, logs stay below 200
_XZ_MEMORY = 256 << 20  # bytes of xz's dictionary; `xz -9` needs 65 MiB
_LAYERS = 3  # compressed again and again is no log


class Undecodable(FlywheelError):
    """Bytes that end early, are damaged, or expand without end; what came before them is good."""


class _Decoder(Protocol):
    """One stream of one compression, as `bz2.BZ2Decompressor` has it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Zlib:
    """zlib's decoder with the interface of the others."""

    def __init__(self, wbits: int) -> None:
        self._decoder = zlib.decompressobj(wbits)
        self._rest = b""

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return not self._rest

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        plain = self._decoder.decompress(self._rest + data, max(0, max_length))
        self._rest = self._decoder.unconsumed_tail
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """A compression: its name, the first bytes of a stream, and its decoder (None: Arrow's)."""

    name: str
    magic: bytes
    decoder: Callable[[], _Decoder] | None


GZIP = Compression(name="gzip", magic=b"\x1f\x8b", decoder=lambda: _Zlib(31))
_XZ = Compression(
    name="xz", magic=b"\xfd7zXZ\x00", decoder=lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
)
COMPRESSIONS = (
    GZIP,
    Compression(name="bzip2", magic=b"BZh", decoder=bz2.BZ2Decompressor),
    _XZ,
    Compression(name="zstd", magic=b"\x28\xb5\x2f\xfd", decoder=None),
    Compression(name="lz4", magic=b"\x04\x22\x4d\x18", decoder=None),
)
_ZLIB = Compression(name="zlib", magic=b"\x78", decoder=lambda: _Zlib(15))
_DEFLATE = Compression(name="deflate", magic=b"", decoder=lambda: _Zlib(-15))
_CODINGS = {
    "x-gzip": "gzip", "bz2": "bzip2", "x-bzip2": "bzip2", "x-xz": "xz", "lzma": "xz", "zst": "zstd"
}  # fmt: skip

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's, which it starts with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BY_ZEROS = {"x0x0": "utf-16-le", "0x0x": "utf-16-be", "x000": "utf-32-le", "000x": "utf-32-be"}
BOM = codecs.BOM_UTF8


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """The plain content of a file, and what was undone."""

    pieces: Iterator[bytes]  # UTF-8; raises Undecodable behind the last good one
    compression: str = ""  # name of the outermost; "": none
    encoding: str = ""  # that it was in; "": UTF-8


def plain(file: BinaryIO, encoding: str = "") -> Plain:
    """Return the content of `file` as pieces of UTF-8.

    Args:
        file: at its start; it need not be seekable.
        encoding: the name of its encoding; "" for UTF-8, or UTF-16 or UTF-32 as its first bytes
            say.

    Raises:
        FlywheelError: no encoding of texts has that name.
    """
    named = checked_encoding(encoding)
    compression, pieces = uncompressed(file)
    head, pieces = peeked(pieces, 8)
    named = named or _wide(head)
    return Plain(
        pieces=transcoded(pieces, named) if named else pieces,
        compression=compression,
        encoding=named,
    )


def uncompressed(file: BinaryIO) -> tuple[str, Iterator[bytes]]:
    """The name of a file's compression ("" for none), and its content in pieces."""
    head, pieces = peeked(_read(file), 8)
    outermost = ""
    for _ in range(_LAYERS):
        compression = compression_of(head)
        if compression is None:
            break
        outermost = outermost or compression.name
        head, pieces = peeked(unpacked(pieces, compression), 8)
    return outermost, pieces


def compression_of(head: bytes) -> Compression | None:
    """The compression that the first bytes tell; None for none."""
    return next((each for each in COMPRESSIONS if head.startswith(each.magic)), None)


def is_packed(head: bytes) -> bool:
    """Whether the first bytes are those of a compression, or of UTF-16 or UTF-32."""
    return compression_of(head) is not None or bool(_wide(head))


def checked_encoding(name: str) -> str:
    """The codec's own name of an encoding; "" for UTF-8 and for none.

    Raises:
        FlywheelError: no encoding of texts has that name.
    """
    if not name:
        return ""
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        codec = None
    if codec is None or not getattr(codec, "_is_text_encoding", True) or codec.name == "undefined":
        raise FlywheelError(
            f"no encoding is called `{name}`", hint="for example cp1252, gbk, shift_jis, utf-16"
        )
    return "" if codec.name in ("utf-8", "utf-8-sig") else codec.name


def peeked(pieces: Iterator[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, `size` or more where there are so many, and all pieces again.

    What cannot be decoded raises behind the pieces, not here.
    """
    taken: list[bytes] = []
    failure: Undecodable | None = None
    try:
        while sum(map(len, taken)) < size:
            taken.append(next(pieces))
    except StopIteration:
        pass
    except Undecodable as error:
        failure = error
    rest = pieces if failure is None else _failing(failure)
    return b"".join(taken), itertools.chain(taken, rest)


def unpacked(pieces: Iterable[bytes], compression: Compression) -> Iterator[bytes]:
    """Undo a compression, stream by stream where several follow each other."""
    if compression.decoder is None:
        yield from _by_arrow(iter(pieces), compression.name)
        return
    decoder: _Decoder | None = None
    bound = _Bound(compression.name)
    for piece in pieces:
        bound.came += len(piece)
        data = piece
        while data:
            if decoder is None:
                data = data.lstrip(b"\x00")  # tape blocks are padded
                if not data:
                    break
                decoder = compression.decoder()
            yield from bound.checked(_all_of(decoder, data, compression.name))
            data = decoder.unused_data
            decoder = None if decoder.eof else decoder
    if decoder is not None:
        raise _ends_early(compression.name)


def _all_of(decoder: _Decoder, data: bytes, name: str) -> Iterator[bytes]:
    """What comes out for one piece, part by part."""
    yield _step(decoder, data, name)
    while not (decoder.eof or decoder.needs_input):
        yield _step(decoder, b"", name)


@dataclass(slots=True)
class _Bound:
    """How much came in and went out, so that a bomb is refused."""

    name: str  # of the compression
    came: int = 0
    went: int = 0

    def checked(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        for part in parts:
            self.went += len(part)
            if self.went > _FREE and self.went > _RATIO * self.came:
                raise Undecodable(
                    f"the {self.name} data expands to more than {_RATIO:,} times its size",
                    hint="such a file is no log; unpack it yourself if you trust it",
                )
            if part:
                yield part


def _step(decoder: _Decoder, data: bytes, name: str) -> bytes:
    try:
        return decoder.decompress(data, PIECE)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise Undecodable(f"the {name} data is damaged: {error}") from error


def _by_arrow(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Undo zstd or LZ4, for which Python 3.11 has no module."""
    import pyarrow

    file = PiecesFile(pieces)
    bound = _Bound(name)
    try:
        with pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), name) as stream:
            while part := stream.read1(PIECE):
                bound.came = file.count
                yield from bound.checked([bytes(part)])
    except (OSError, pyarrow.ArrowException) as error:
        if "runcated" in str(error):
            raise _ends_early(name) from error
        raise Undecodable(f"the {name} data is damaged: {error}") from error


class PiecesFile(io.RawIOBase):
    """Pieces as a file that can be read, and how many bytes were."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""
        self.count = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with what is left of one piece; returns how many bytes, 0 at the end."""
        self._rest = self._rest or next(self._pieces, b"")
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        self.count += size
        return size


def transcoded(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Pieces in `encoding` as UTF-8; what it does not know stays as it is."""
    unknown = "surrogatepass" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
    try:
        decoder = codecs.getincrementaldecoder(encoding)(unknown)
        for piece in pieces:
            if text := decoder.decode(piece):
                yield text.encode("utf-8", unknown)
        if text := decoder.decode(b"", final=True):
            yield text.encode("utf-8", unknown)
    except UnicodeError as error:
        raise Undecodable(f"it is not {encoding}: {error}") from error


def original(raw: bytes, encoding: str) -> bytes:
    """The bytes of a line as they were before `transcoded`; `raw` itself where they are lost."""
    if not encoding:
        return raw
    try:
        return raw.decode("utf-8", "surrogateescape").encode(encoding, "surrogateescape")
    except UnicodeError:
        return raw


def inflated(body: bytes, codings: Iterable[str], limit: int) -> bytes:
    """Return a body without its compression.

    Args:
        body: of a request.
        codings: as `Content-Encoding` lists them, in the order in which they were applied; a body
            without any is looked at for its first bytes.
        limit: bytes of the result; one more is returned where it is longer.

    Raises:
        Undecodable: it is damaged, ends early, or no such coding is known.
    """
    named = [coding for coding in codings if coding not in ("", "identity")]
    if not named:
        told = compression_of(body)
        named = [] if told is None else [told.name]
    for coding in reversed(named):
        body = limited(unpacked([body], _coding(coding, body)), limit)
        if len(body) > limit:
            break
    return body


def _coding(name: str, body: bytes) -> Compression:
    name = _CODINGS.get(name, name)
    if name == "deflate":  # zlib's form by the standard, and without its header by some clients
        return _ZLIB if body[:1] == b"\x78" else _DEFLATE
    for each in COMPRESSIONS:
        if each.name == name:
            return each
    known = ", ".join(each.name for each in COMPRESSIONS)
    raise Undecodable(f"the encoding {name} is not known", hint=f"send {known}, deflate, or none")


def limited(pieces: Iterable[bytes], limit: int) -> bytes:
    """The pieces together; one byte more than `limit` where they are longer."""
    whole = bytearray()
    for piece in pieces:
        whole += piece
        if len(whole) > limit:
            return bytes(whole[: limit + 1])
    return bytes(whole)


def _read(file: BinaryIO) -> Iterator[bytes]:
    """The pieces of a file, as they come: a pipe is not waited for."""
    read = getattr(file, "read1", file.read)
    while piece := read(PIECE):
        yield piece


def _wide(head: bytes) -> str:
    """UTF-16 or UTF-32 by its mark or by its zero bytes; "" for neither."""
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name.removesuffix("-le").removesuffix("-be")  # which passes over the mark
    zeros = "".join("0" if byte == 0 else "x" for byte in head[:4])
    return _BY_ZEROS.get(zeros, "")


def _ends_early(name: str) -> Undecodable:
    return Undecodable(
        f"the {name} data ends early", hint="was the file copied whole? send it again"
    )


def _failing(error: Undecodable) -> Iterator[bytes]:
    yield from ()
    raise error
