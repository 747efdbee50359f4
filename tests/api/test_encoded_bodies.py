"""Bodies that are compressed, or in another encoding: read, bounded, and refused by name."""

import bz2
import gzip
import json
import lzma
import zlib

import pyarrow
import pytest
from wire_events import ndjson, prediction

BATCH = ndjson(prediction(1), prediction(2))


def sent(client, body, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/v1/predictions", content=body, headers=named)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(BATCH)),
        ("deflate", zlib.compress(BATCH)),
        ("deflate", zlib.compress(BATCH, wbits=-15)),
        ("bz2", bz2.compress(BATCH)),
        ("xz", lzma.compress(BATCH)),
        ("zstd", pyarrow.compress(BATCH, "zstd", asbytes=True)),
        ("gzip, identity", gzip.compress(BATCH)),
        ("identity", BATCH),
    ],
)
def test_a_compressed_body_is_read_with_its_header_and_where_it_can_be_told_without(
    client, coding, body
):
    assert sent(client, body, content_encoding=coding).json()["accepted"] == 2
    if coding != "deflate":
        assert sent(client, body).json()["known"] == 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_a_body_in_utf_16_is_told_by_its_first_bytes(client, encoding):
    body = json.dumps([prediction(1), prediction(2)], default=str).encode(encoding)
    assert sent(client, body).json()["accepted"] == 2


def test_a_charset_counts_where_the_body_is_not_utf_8(client, runtime):
    kind = "application/json; charset=gbk"
    for number, encoding in ((1, "gbk"), (2, "utf-8")):
        body = json.dumps(prediction(number) | {"text": "播放音乐"}, ensure_ascii=False)
        assert sent(client, body.encode(encoding), content_type=kind).json()["accepted"] == 1
    with runtime.store.read() as con:
        texts = con.execute("SELECT DISTINCT text FROM predictions").fetchall()
    assert texts == [("播放音乐",)]


@pytest.mark.parametrize(
    ("headers", "body", "status", "told"),
    [
        ({"content_encoding": "br"}, b"{}", 400, "the encoding br is not known"),
        ({"content_encoding": "gzip"}, b"{}", 400, "the gzip data is damaged"),
        ({"content_encoding": "gzip"}, gzip.compress(BATCH)[:-5], 400, "ends early"),
        ({"content_encoding": "gzip"}, gzip.compress(b" " * (2**20 + 1)), 413, "over 1 MiB"),
        ({}, bz2.compress(b" " * (2**20 + 1)), 413, "over 1 MiB"),
        ({}, (b" " * 600_000).decode().encode("utf-32"), 413, "over 1 MiB"),
        ({"content_type": "text/plain; charset=klingon"}, b"\xff", 400, "`klingon`"),
        ({"content_encoding": "gzip"}, b"", 400, "is empty"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_by_name(client, headers, body, status, told):
    reply = sent(client, body, **headers)
    assert (reply.status_code, told in reply.json()["error"]) == (status, True)
