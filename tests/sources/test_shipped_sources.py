"""Every shipped source against the real thing: files, PostgreSQL, librdkafka's brokers, objects."""

import base64
import contextlib
import gzip
import json
import os
import pwd
import shutil
import subprocess
import time
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from flywheel.errors import FlywheelError
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


def quiet(path):
    """Nobody has written to the file for a while."""
    os.utime(path, (time.time() - 60,) * 2)


def test_a_broken_parquet_file_is_told_once_and_the_next_is_read(tmp_path):
    broken_file = tmp_path / "a.parquet"
    broken_file.write_bytes(b"PAR1 not yet")
    write_parquet(tmp_path / "b.parquet", range(2))
    options = {"path": str(tmp_path / "*.parquet")}
    assert read("parquet", options) == []  # it may still be written
    quiet(broken_file)
    told, *rest = read("parquet", options)
    assert told["unreadable"] == str(broken_file)
    assert told["why"].startswith("cannot be read: ")
    assert rest == [event(n) for n in range(2)]
    assert broken(check(find("parquet", tmp_path), options)) == []


def test_a_damaged_row_group_costs_its_rows_only(tmp_path):
    path = tmp_path / "a.parquet"
    table = pyarrow.Table.from_pylist([{"id": f"p-{n}", "text": "x" * 500} for n in range(4)])
    pyarrow.parquet.write_table(table, path, row_group_size=2, compression="gzip")
    group = pyarrow.parquet.ParquetFile(path).metadata.row_group(0).column(1)
    content = bytearray(path.read_bytes())
    start = group.data_page_offset
    content[start : start + group.total_compressed_size // 2] = bytes(
        group.total_compressed_size // 2
    )
    path.write_bytes(content)
    told, *rest = read("parquet", {"path": str(path)})
    assert told["why"].startswith("row group 0 cannot be read: ")
    assert [each["id"] for each in rest] == ["p-2", "p-3"]


def test_a_file_that_is_gone_before_its_end_is_told_and_one_behind_it_is_not(tmp_path):
    for name in ("a", "b"):
        write_parquet(tmp_path / f"{name}.parquet", range(4))
    options = {"path": str(tmp_path / "*.parquet")}

    def following(limit):
        source = find("parquet", tmp_path)()
        source.open(options, None)
        cursor = source.poll(limit, 0).cursor
        source.close()
        (tmp_path / "a.parquet").rename(tmp_path / "archived")
        source.open(options, cursor)
        rows = []
        while batch := source.poll(2, 0):
            rows += batch.events
        (tmp_path / "archived").rename(tmp_path / "a.parquet")
        return [row.get("why", row.get("id")) for row in rows]

    rest = [event(n)["id"] for n in range(4)]
    assert following(2) == ["is gone, and was not read to its end", *rest]
    assert following(4) == rest


def test_cells_of_other_types_become_the_values_of_an_event(tmp_path):
    path = tmp_path / "a.parquet"
    table = pyarrow.table(
        {
            "id": pyarrow.array([7, 8]),
            "Text": pyarrow.array(["a", "b"]),
            "ts": pyarrow.array([date(2026, 11, 20), None]),
            "confidence": pyarrow.array([0.5, float("nan")]),
            "slices": pyarrow.array(
                [[("channel", "voice")], []], pyarrow.map_(pyarrow.string(), pyarrow.string())
            ),
            "session": pyarrow.array([1.0, None]),
            "arguments": pyarrow.array(['{"time": "six"}', "{no"]),
        }
    )
    pyarrow.parquet.write_table(table, path)
    assert read("parquet", {"path": str(path)}) == [
        {
            "id": "7",
            "text": "a",
            "ts": "2026-11-20T00:00:00+00:00",
            "confidence": 0.5,
            "slices": {"channel": "voice"},
            "session": "1",
            "arguments": {"time": "six"},
        },
        {"id": "8", "text": "b", "arguments": "{no"},
    ]


def test_times_in_nanoseconds_are_read(tmp_path):
    times = pyarrow.array([1_764_000_000_000_000_123], pyarrow.timestamp("ns", "UTC"))
    pyarrow.parquet.write_table(pyarrow.table({"ts": times}), tmp_path / "a.parquet")
    (row,) = read("parquet", {"path": str(tmp_path / "*.parquet")})
    assert row == {"ts": "2025-11-24T16:00:00+00:00"}


def test_a_csv_has_its_own_encoding_delimiter_and_decimal_comma(tmp_path):
    path = tmp_path / "a.csv"
    text = "id;text;intent;confidence;latency_ms\nd-1;六点叫我;set_alarm;0,9;1,5\n"
    path.write_bytes(text.encode("gbk"))
    assert read("csv", {"path": str(path), "encoding": "gbk"}) == [
        {
            "id": "d-1",
            "text": "六点叫我",
            "intent": "set_alarm",
            "confidence": 0.9,
            "latency_ms": 1.5,
        }
    ]
    (bad,) = read("csv", {"path": str(path)})
    assert base64.b64decode(bad["unreadable_base64"]) == text.splitlines()[1].encode("gbk")
    assert bad["why"] == f"{path}:2: is not UTF-8; name its encoding"
    with pytest.raises(FlywheelError, match="no encoding is called `klingon`"):
        read("csv", {"path": str(path), "encoding": "klingon"})
    with pytest.raises(FlywheelError, match="is no delimiter"):
        read("csv", {"path": str(path), "delimiter": "::"})


def test_a_csv_with_a_long_cell_a_file_without_a_header_and_a_folder_stop_nothing(tmp_path):
    (tmp_path / "a.csv").write_text("a,a\n1,2\n")
    quiet(tmp_path / "a.csv")
    (tmp_path / "b.csv").mkdir()
    (tmp_path / "c.csv").write_text("id,text\nx," + "y" * 200_000 + "\nz,fine\n")
    told, long, fine = read("csv", {"path": str(tmp_path / "*.csv")})
    assert told["why"] == "cannot be read: the column `a` occurs twice"
    assert (len(long["text"]), fine) == (200_000, {"id": "z", "text": "fine"})


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
