"""Every shipped source against the real thing: files, PostgreSQL, librdkafka's brokers, objects."""

import contextlib
import gzip
import json
import os
import pwd
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from flywheel.errors import FlywheelError, SourceUnavailable
from flywheel.sources import find
from flywheel.sources.conformance import check
from tests.waiting import CEILING_S


def event(number):
    return {
        "id": f"p-{number:03}",
        "ts": "2026-11-22T05:17:00+00:00",
        "text": "放一首歌",
        "intent": "play_music",
        "confidence": 0.5,
        "slices": {"channel": "voice"},
    }


def broken(checks):
    return [each for each in checks if not each[1]]


def read(name, options, plugins_dir=Path("nowhere")):
    events = []
    with contextlib.closing(find(name, plugins_dir)()) as source:
        source.open(options, None)
        while batch := source.poll(4, 0.2):
            events += batch.events
    return events


def flat(number):
    row = event(number)
    return {k: v for k, v in row.items() if k != "slices"} | {"slices.channel": "voice"}


def write_parquet(path, numbers):
    rows = [flat(n) | {"ts": datetime(2026, 11, 22, 5, 17, tzinfo=UTC)} for n in numbers]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def test_parquet_files_are_read_in_the_order_of_their_names(tmp_path):
    write_parquet(tmp_path / "a.parquet", range(7))
    write_parquet(tmp_path / "b.parquet", range(7, 12))
    options = {"path": str(tmp_path / "*.parquet")}
    assert read("parquet", options) == [event(n) for n in range(12)]
    assert broken(check(find("parquet", tmp_path), options)) == []


def test_a_parquet_file_that_is_none_is_tried_later(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not yet")
    with pytest.raises(SourceUnavailable, match=r"a\.parquet cannot be read"):
        read("parquet", {"path": str(tmp_path / "*.parquet")})


def test_csv_files_keep_the_contract_and_bad_rows_are_handed_on(tmp_path):
    header = ",".join(flat(0)) + "\n"
    lines = [",".join(str(cell) for cell in flat(n).values()) + "\n" for n in range(100)]
    (tmp_path / "a.csv").write_text(header + "".join(lines[:12]), "utf-8")
    options = {"path": str(tmp_path / "*.csv")}
    assert read("csv", options) == [event(n) for n in range(12)]

    def spoil():
        (tmp_path / "b.csv").write_text(header + "only,three,cells\n" + lines[99], "utf-8")
        return event(99)

    assert broken(check(find("csv", tmp_path), options, spoil=spoil)) == []


@pytest.fixture
def bucket(tmp_path):
    pytest.importorskip("obstore")
    folder = tmp_path / "bucket" / "2026"
    folder.mkdir(parents=True)
    lines = [json.dumps(event(n)).encode() for n in range(12)]
    (folder / "21.jsonl").write_bytes(b"\n".join(lines[:7]))
    (folder / "22.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines[7:])))
    return folder.parent


def test_objects_of_a_bucket_are_read_in_the_order_of_their_keys(bucket, tmp_path):
    options = {"url": bucket.as_uri()}
    assert read("s3", options) == [event(n) for n in range(12)]

    def spoil():
        (bucket / "2026" / "23.jsonl").write_bytes(b"{no\n" + json.dumps(event(99)).encode())
        return event(99)

    assert broken(check(find("s3", tmp_path), options, spoil=spoil)) == []


@pytest.fixture
def topic():
    """A topic on librdkafka's own brokers, which live in the producer."""
    kafka = pytest.importorskip("confluent_kafka")
    producer = kafka.Producer({"test.mock.num.brokers": 1, "log_level": 0})
    brokers = producer.list_topics(timeout=CEILING_S).brokers.values()

    def send(*values):
        for value in values:
            producer.produce("router", value, partition=0)
        assert producer.flush(10) == 0

    send(*(json.dumps(event(n)) for n in range(12)))
    return {"servers": ",".join(f"{b.host}:{b.port}" for b in brokers), "topic": "router"}, send


def test_a_topic_is_read_from_the_daemons_own_offsets(topic, tmp_path):
    options, send = topic

    def spoil():
        send(b"\xff{no", json.dumps(event(99)))
        return event(99)

    assert broken(check(find("kafka", tmp_path), options, spoil=spoil)) == []


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """A server of Debian's packages on a Unix socket, as the user that is not root."""
    pytest.importorskip("psycopg")
    initdb, pg_ctl = shutil.which("initdb"), shutil.which("pg_ctl")
    if not (initdb and pg_ctl):
        pytest.skip("PostgreSQL's server programs are not installed")
    user = None
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError:
            pytest.skip("root cannot run PostgreSQL, and there is no user postgres")
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    if user:
        shutil.chown(folder, user)
    options = {"user": user, "check": True, "cwd": folder, "stdout": subprocess.DEVNULL}
    subprocess.run([initdb, "-D", "db", "-A", "trust", "-U", "me", "-E", "UTF8"], **options)
    settings = f"-k {folder} -c listen_addresses= -c fsync=off"
    subprocess.run([pg_ctl, "-D", "db", "-w", "-l", "log", "-o", settings, "start"], **options)
    yield f"host={folder} user=me dbname=postgres"
    subprocess.run([pg_ctl, "-D", "db", "-m", "immediate", "stop"], **options)
    shutil.rmtree(folder)


def test_a_query_is_read_behind_its_last_key(postgres, tmp_path):
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as con:
        con.execute(
            "CREATE TABLE log (n int, id text, ts timestamptz, text text, intent text, "
            "confidence float, slices jsonb)"
        )

        def add(number):
            row = event(number)
            con.execute(
                "INSERT INTO log VALUES (%s, %s, %s, %s, %s, 0.5, %s)",
                [number // 3, row["id"], row["ts"], row["text"], row["intent"],
                 json.dumps(row["slices"])],
            )  # fmt: skip

        for number in range(12):
            add(number)

        def spoil():
            con.execute("INSERT INTO log (n, id) VALUES (98, 'bad')")
            add(99 * 3)
            return read("postgres", options)[-1]

        options = {"dsn": postgres, "query": "SELECT * FROM log;", "key": ["n", "id"]}
        found = read("postgres", options)
        assert [one["id"] for one in found] == [event(n)["id"] for n in range(12)]
        assert found[0]["slices"] == {"channel": "voice"}
        assert broken(check(find("postgres", tmp_path), options, spoil=spoil)) == []
    with pytest.raises(FlywheelError, match="the query fails"):
        read("postgres", options | {"query": "SELECT * FROM nothing"})


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("postgres", {"query": "SELECT 1", "dsn_env": "NO_SUCH_VARIABLE"}, "is not set"),
        ("kafka", {"topic": "router"}, "needs the option `servers`"),
        ("s3", {"url": "s3://b", "secret": "x"}, "knows no option `secret`"),
    ],
)
def test_a_wrong_option_is_named(name, options, said, tmp_path):
    with pytest.raises(FlywheelError, match=said):
        find(name, tmp_path)().open(options, None)
