"""The source `s3` against a server that speaks S3, with keys and over HTTP."""

import gzip
import json
import urllib.request
from types import SimpleNamespace

import pytest

from flywheel.errors import SourceUnavailable
from flywheel.sources import find
from flywheel.sources.conformance import check
from tests.waiting import CEILING_S


def event(number):
    said = {"ts": "2026-11-22T05:17:00Z", "text": "放一首歌", "intent": "play_music"}
    return {"id": f"p-{number:03}", **said}


@pytest.fixture
def bucket(monkeypatch):
    """Puts objects into a bucket; `.options` are the source's."""
    pytest.importorskip("obstore")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for name, value in (("ACCESS_KEY_ID", "runtime"), ("SECRET_ACCESS_KEY", "s3cret")):
        monkeypatch.setenv(f"AWS_{name}", value)

    def put(key, body=b""):
        kind = {"Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{url}/traffic{key}", body, kind, method="PUT")
        with urllib.request.urlopen(request, timeout=CEILING_S) as answer:
            assert answer.status == 200

    put("")
    told = {"endpoint": url, "region": "us-east-1"}
    options = {"url": "s3://traffic/router", "config": told, "client": {"allow_http": True}}
    yield SimpleNamespace(put=put, options=options)
    server.stop()


def read(options, cursor=None, limit=5):
    source, events = find("s3", None)(), []
    source.open(options, cursor)
    while batch := source.poll(limit, 0.2):
        events += batch.events
        cursor = batch.cursor
    source.close()
    return events, cursor


@pytest.mark.slow
def test_objects_are_read_once_in_the_order_of_their_keys_and_on_from_the_cursor(bucket, tmp_path):
    lines = [json.dumps(event(n)).encode() for n in range(20)]
    bucket.put("/router/2026-11-21.jsonl", b"\n".join(lines[:7]))
    bucket.put("/router/2026-11-22.jsonl.gz", gzip.compress(b"\n".join(lines[7:12])))
    bucket.put("/other/2026-11-22.jsonl", lines[19])
    events, cursor = read(bucket.options)
    assert events == [event(n) for n in range(12)]
    bucket.put("/router/2026-11-23.jsonl", b"\n".join(lines[12:19]))
    assert read(bucket.options, cursor)[0] == [event(n) for n in range(12, 19)]

    def spoil():
        bucket.put("/router/2026-11-24.jsonl", b"{no\n" + json.dumps(event(99)).encode())
        return event(99)

    checks = check(find("s3", tmp_path), bucket.options, spoil=spoil)
    assert [each for each in checks if not each[1]] == []


@pytest.mark.slow
def test_a_key_that_the_library_does_not_know_is_an_error_of_the_source(bucket):
    options = {**bucket.options, "config": {"allow_http": "true"}}
    with pytest.raises(SourceUnavailable, match="config cannot be used"):
        read(options)


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_tried_later(bucket):
    options = {**bucket.options, "url": "s3://nowhere/router"}
    with pytest.raises(SourceUnavailable, match="cannot be listed"):
        read(options)
