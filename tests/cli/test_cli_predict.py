"""`flywheel predict` answers what can be read, names what cannot, and leaves no half a file."""

import json

import pytest
from typer.testing import CliRunner

from flywheel.cli.app import app
from flywheel.router import Answer, Router

NAME = "a-0123456789ab"


class Echo:
    """A router whose intent is the text's first word."""

    adapter, engine = NAME, "torch"

    def __init__(self):
        self.batches = []

    def answer_batch(self, texts):
        self.batches.append(list(texts))
        return [Answer(text.split()[0], {"n": 1}, 0.5, NAME) for text in texts]


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Run the command in a folder with a configuration; `loaded` holds what was loaded, and how."""
    loaded = []
    echo = Echo()
    monkeypatch.setattr(
        Router, "load", lambda place, **options: loaded.append((place, options)) or echo
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text("[intents]\ncontext_turns = 1\n")
    (tmp_path / "intents.toml").write_text('[[intent]]\nname = "wake"\ndescription = "Wake"\n')

    def run(*arguments, lines=(), stdin=None):
        content = lines if isinstance(lines, bytes) else "\n".join(lines).encode()
        (tmp_path / "texts").write_bytes(content)
        return CliRunner().invoke(app, ["predict", *arguments], input=stdin)

    run.loaded, run.echo = loaded, echo
    return run


def test_each_text_of_a_file_is_answered_by_a_line_of_json(ask):
    result = ask("texts", lines=["wake me", "", "放音乐 吧"])
    assert result.stdout == (
        '{"line": 1, "text": "wake me", "intent": "wake", "arguments": {"n": 1}, '
        '"confidence": 0.5, "adapter": "a-0123456789ab"}\n'
        '{"line": 3, "text": "放音乐 吧", "intent": "放音乐", "arguments": {"n": 1}, '
        '"confidence": 0.5, "adapter": "a-0123456789ab"}\n'
    )
    assert (result.stderr, result.exit_code) == ("", 0)


def test_json_lines_hold_texts_or_conversations(ask):
    said = [{"role": "user", "content": word} for word in ("one", "two", "three")]
    lines = [{"id": "p-1", "text": "wake me"}, {"messages": said}]
    result = ask("texts", lines=map(json.dumps, lines))
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["text"] for row in rows] == ["wake me", "two\nthree"]  # context_turns = 1
    assert [row.get("id") for row in rows] == ["p-1", None]


def test_bad_lines_are_listed_and_the_good_ones_answered(ask):
    good = b'{"text": "wake"}'
    bad = [b"{", b"[]", b"{}", b'{"text": 5}', b'{"text": " "}', b'{"messages": []}', b'"\xff"']
    result = ask("texts", lines=b"\n".join([good, *bad, good]))
    assert [json.loads(line)["line"] for line in result.stdout.splitlines()] == [1, 9]
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [
        "line 2 is not JSON",
        "line 3 is not a JSON object",
        "line 4 has no `text` and no `messages`",
        "line 5 `text` is no text",
        "line 6 `text` is no text",
        "line 7 `messages` has no user message with a text",
        "line 8 is not UTF-8",
        f"2 texts answered by {NAME}, 7 lines refused",
    ]
    assert result.exit_code == 1


def test_json_is_one_object_with_the_answers_and_the_bad_lines(ask):
    value = json.loads(ask("texts", "--json", lines=['{"text": "wake"}', "{}"]).stdout)
    assert (value["adapter"], value["engine"], value["answered"]) == (NAME, "torch", 1)
    assert [row["intent"] for row in value["predictions"]] == ["wake"]
    assert value["rejected"] == [{"line": 2, "reason": "has no `text` and no `messages`"}]


def test_standard_input_is_read_and_a_file_is_written(ask, tmp_path):
    result = ask("-", "--output", "out.jsonl", stdin="wake me\n")
    assert json.loads((tmp_path / "out.jsonl").read_text())["intent"] == "wake"
    assert result.stdout == ""
    assert result.stderr == f"1 texts answered by {NAME} into out.jsonl\n"
    value = json.loads(ask("-", "--output", "out.jsonl", "--json", stdin="wake me\n").stdout)
    assert sorted(value) == ["adapter", "answered", "engine", "rejected"]


def test_an_interrupted_run_leaves_the_file_as_it_was(ask, tmp_path):
    (tmp_path / "out.jsonl").write_text("before")

    def interrupted(texts):
        raise KeyboardInterrupt

    ask.echo.answer_batch = interrupted
    result = ask("-", "--output", "out.jsonl", stdin="wake me\n")
    assert result.exit_code == 130
    assert (tmp_path / "out.jsonl").read_text() == "before"
    assert sorted(path.name for path in tmp_path.glob("*out*")) == ["out.jsonl"]


def test_the_champion_is_asked_unless_an_adapter_is_named(ask, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "flywheel.json").write_text("{}")
    ask("texts")
    ask("texts", "--adapter", NAME, "--engine", "onnx")
    ask("texts", "--adapter", str(folder))
    state = tmp_path / "var"
    places = [str(place) for place, _ in ask.loaded]
    assert places == [str(state), str(state / "adapters" / NAME), str(folder)]
    assert [options["engine"] for _, options in ask.loaded] == ["auto", "onnx", "auto"]


def test_a_folder_needs_no_configuration(ask, tmp_path):
    (tmp_path / "config.toml").unlink()
    (tmp_path / "flywheel.json").write_text("{}")
    assert ask("texts", "--adapter", ".", lines=["wake"]).exit_code == 0
    assert ask("texts", lines=["wake"]).exit_code == 1


def test_texts_are_answered_some_at_a_time(ask):
    ask("texts", lines=[f"wake {number}" for number in range(600)])
    assert [len(batch) for batch in ask.echo.batches] == [256, 256, 88]


def test_without_a_champion_it_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "intents.toml").write_text('[[intent]]\nname = "wake"\ndescription = "Wake"\n')
    result = CliRunner().invoke(app, ["predict", "-"], input="wake\n")
    assert result.exit_code == 1
    assert "has no champion" in result.stderr
