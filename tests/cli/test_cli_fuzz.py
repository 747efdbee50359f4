"""Generated files through `ingest` and `samples import`: never a traceback, always every line."""

import bz2
import gzip
import json
import lzma
import random

import pytest

SHAPES = (
    {"id": "p-1", "ts": "2026-11-22T05:17:00Z", "text": "我要听音乐", "intent": "play_music"},
    {"text": "wake me", "intent": "set_alarm", "split": "golden"},
    {"id": "f-1", "prediction_id": "p-1", "ts": "2026-11-22T05:18:00Z", "verdict": "correct"},
    {"data": [{"id": 1}, {"id": 2}], "next": None},
    {"hits": {"hits": [{"_source": {"text": "x"}}]}},
    {"_id": {"$oid": "1"}, "text": "x", "ts": {"$date": {"$numberLong": "9e99"}}},
    {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "t"}]}]}]},
    {"index": {"_id": "1"}},
    {"x": "\ud800", "y": [1e300, -0.0, 2**70]},
)


def value(chance):
    return dict(chance.choice(SHAPES), **{chance.choice("abtid"): chance.randint(-9, 9)})


def lines(chance):
    return [json.dumps(value(chance)).encode() for _ in range(chance.randint(0, 6))]


def csv_file(chance):
    mark = chance.choice([b",", b";", b"\t", b"|"])
    names = chance.choice([[b"id", b"text", b"intent"], [b"text", b"intent"], [b"a", b"b"], [b"x"]])
    cells = [b"", b'"', b'"a""b"', b'"open', b"\xff\xfe", b"1,5", b"\x00", b"x" * 200_000, b"{"]
    rows = [mark.join(chance.choice(cells) for _ in range(chance.randint(0, 5))) for _ in range(5)]
    return chance.choice([b"\n", b"\r\n", b"\r"]).join([mark.join(names), *rows])


MAKES = {
    "bytes": lambda chance: chance.randbytes(chance.randint(0, 400)),
    "lines": lambda chance: b"\n".join(lines(chance)),
    "list": lambda chance: b"[" + b",".join(lines(chance)) + b"]",
    "pretty": lambda chance: json.dumps([value(chance)], indent=2).encode(),
    "nested": lambda chance: chance.choice([b"[", b'{"a":', b'{"data":[']) * 5_000,
    "closed": lambda chance: b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"\n{}\n[" + b"]" * 9,
    "csv": csv_file,
    "numbers": lambda chance: b'{"id":NaN}\n{"id":1e400}\n{"id":' + b"9" * 5_000 + b"}\n[1,2]",
    "words": lambda chance: b"- text: hi\n  intent: greet\n# heading\n## intent: x\n- [a](b)\n",
}


def mutated(chance, data):
    kind = chance.randrange(9)
    if kind == 0:
        data = data[: chance.randint(0, len(data))]
    elif kind == 1:
        at = chance.randint(0, len(data))
        data = data[:at] + chance.randbytes(3) + data[at:]
    elif kind == 2:
        data = chance.choice([gzip.compress, bz2.compress, lzma.compress])(data)
        data = data[: len(data) - chance.choice([0, 0, 5])]
    elif kind == 3:
        data = data.decode("latin-1").encode(chance.choice(["utf-16", "utf-16-be", "utf-32"]))
        data = data[: len(data) - chance.choice([0, 0, 1])]
    elif kind == 4:
        data = b"\xef\xbb\xbf" + data.replace(b"\n", b"\n\xef\xbb\xbf")
    elif kind == 5:
        data = data.replace(b'"', b"'", 1).replace(b"}", b"", 1)
    return data


COMMANDS = (
    ("ingest",),
    ("ingest", "--encoding", "gbk"),
    ("ingest", "--kind", "samples", "--delimiter", ";"),
    ("samples", "import", "--split", "seed"),
)


@pytest.mark.parametrize("name", MAKES)
def test_no_file_ends_in_a_traceback_and_every_record_is_told(daemon, folder, name):
    def answer(body):
        count = len(body.splitlines())
        rejected = [{"line": 1, "field": "x", "why": "is odd"}][: count % 2]
        return {"accepted": count - len(rejected), "duplicates": 0, "rejected": rejected}

    for route in ("predictions", "feedback", "samples"):
        daemon.says(f"POST /v1/{route}", answer)
    chance = random.Random(f"files {name}")
    for number in range(16):
        path = folder / f"{number}.{chance.choice(['jsonl', 'json', 'csv', 'yml'])}"
        path.write_bytes(mutated(chance, MAKES[name](chance)))
        command = COMMANDS[number % len(COMMANDS)]
        result = daemon.run(*command, path, "--json")
        said = (command, path.read_bytes()[:200], result.output)
        assert result.exception is None or isinstance(result.exception, SystemExit), said
        assert result.exit_code in (0, 1, 2), said
        assert "Traceback" not in result.output, said
        if command[0] == "ingest" and result.stdout.startswith("{"):
            told = json.loads(result.stdout)
            parts = told["accepted"] + told["duplicates"] + told["skipped"] + len(told["rejected"])
            assert parts == told["sent"], said
