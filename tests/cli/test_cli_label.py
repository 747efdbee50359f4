"""`flywheel samples label`: by lines, by keys on a real terminal, and as lists and files."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.cli.label_session import COMMANDS, IntentChoice, ranked, understood
from flywheel.cli.text import width
from tests.waiting import CEILING_S

INTENTS = [
    {"name": "set_alarm", "description": "Wake the user at a time"},
    {"name": "set_timer", "description": "Count down"},
    {"name": "播放音乐", "description": "播放一首歌"},
]
TEXTS = ["wake me", "我要听音乐", "clear \x1b[2J it"]
SETTLED = {"golden": 0, "feedback": 2, "train": 0, "withdrawn": 0, "unfit": 0, "judging": 0}


def item(n, kind="audit", **more):
    shown = {"item": f"{kind}:p-{n}", "kind": kind, "text": TEXTS[n], "guesses": [], "said": []}
    return {**shown, "again": False, **more}


class Queue:
    """What a fake daemon says of a queue that it remembers the answers to."""

    def __init__(self, daemon, *items, wanted=0):
        self.items, self.answers, self.wanted = list(items), [], wanted
        daemon.says("GET /v1/labels", lambda _: self.asked())
        daemon.says("POST /v1/labels", self.given)
        daemon.says("POST /v1/labels/undo", self.undone)
        daemon.says("POST /v1/labels/settle", SETTLED)

    def asked(self):
        known = {answer["item"] for answer in self.answers}
        left = [item for item in self.items if item["item"] not in known]
        return {
            "person": "ann (uid 1)",
            "waiting": {"audit": len(left)},
            "wanted": self.wanted,
            "items": left[:2],  # in parts
            "intents": INTENTS,
        }

    def given(self, body):
        self.answers.append(json.loads(body))
        return {"item": self.answers[-1]["item"], "state": "kept", "settled": None}

    def undone(self, _):
        last = self.answers.pop()
        found = next(item for item in self.items if item["item"] == last["item"])
        return {"item": last["item"], "was": last["intent"], "asked": found}

    def said(self):
        return [(answer["item"][-1], answer["intent"]) for answer in self.answers]


@pytest.fixture
def queue(daemon):
    return Queue(daemon, *(item(n) for n in range(3)))


def label(daemon, *lines, options=()):
    return daemon.run("samples", "label", *options, input="".join(f"{line}\n" for line in lines))


def test_a_line_chooses_by_number_name_beginning_or_letters(daemon, queue):
    done = label(daemon, "2", "播", "alarm")
    assert done.exit_code == 0
    assert queue.said() == [("0", "set_timer"), ("1", "播放音乐"), ("2", "set_alarm")]
    assert "3 labels: 3 audit" in done.stdout
    assert "nothing to label" in done.stdout


def test_none_skip_undo_and_quit(daemon, queue):
    done = label(daemon, "0", "<", "set_alarm", "-", ".")
    assert queue.said() == [("0", "set_alarm"), ("1", None)]
    assert done.exit_code == 0
    assert "1 label: 1 audit, 1 skipped" in done.stdout
    posted = [target for method, target, *_ in daemon.asked if method == "POST"]
    assert posted[-1] == "/v1/labels/settle"


def test_a_session_ends_with_its_input_and_another_goes_on(daemon, queue):
    assert label(daemon, "1").exit_code == 0
    assert queue.said() == [("0", "set_alarm")]
    label(daemon, "2", "2")
    assert [key for key, _ in queue.said()] == ["0", "1", "2"]


def test_what_is_not_clear_is_asked_again_and_says_what_it_could_be(daemon, queue):
    done = label(daemon, "set", "xyz", "9", "", "quit")
    assert queue.said() == []
    assert "set: which of set_alarm, set_timer?" in done.stderr
    assert "xyz: no intent like this" in done.stderr
    assert "9: no intent like this" in done.stderr


def test_what_the_daemon_refuses_is_said_and_the_next_text_comes(daemon, queue):
    def refuse(body):
        return {"error": "nobody is asked about it", "hint": "look at the queue"}

    daemon.says("POST /v1/labels", refuse, status=404)
    done = label(daemon, "1", "1", "1", "1")
    assert done.exit_code == 0
    assert done.stderr.count("error: nobody is asked about it") == 2
    assert "nothing to label" in done.stdout


def test_after_the_last_label_that_somebody_waited_for_the_queue_is_fetched_anew(daemon, queue):
    queue.items = [item(n, "first") for n in range(3)]

    def last(body):
        queue.given(body)
        queue.items = [item(2)]  # nobody waits for the other texts any more
        return {"item": "first:p-0", "state": "kept", "settled": SETTLED}

    daemon.says("POST /v1/labels", last)
    done = label(daemon, "1", ".")
    assert queue.said() == [("0", "set_alarm")]
    assert "for a first champion (3 texts left)" in done.stdout
    assert TEXTS[1] not in done.stdout
    assert "audit (1 text left)" in done.stdout
    assert "that is enough for a first champion: flywheel turn start --wait" in done.stdout


def test_a_limit_ends_the_session(daemon, queue):
    label(daemon, "1", "1", "1", options=("--limit", "2"))
    assert len(queue.said()) == 2


def test_texts_are_shown_harmless_and_within_80_columns(daemon, queue):
    queue.items[0] = {**queue.items[0], "text": "很长的句子" * 40, "said": ["set_timer", "\x1bx"]}
    done = label(daemon, "0", "0", "0")
    assert "\x1b" not in done.stdout
    assert "clear \\x1b[2J it" in done.stdout
    assert max(width(line) for line in done.stdout.splitlines()) <= 80
    assert "people differ" not in done.stdout


def test_names_are_aligned_and_what_people_said_comes_first(daemon):
    Queue(daemon, item(0, "conflict", said=["播放音乐", "set_timer"]))
    lines = label(daemon, ".").stdout.splitlines()
    assert "people differ: 播放音乐, set_timer (1 text left)" in lines
    first, second, third = (line for line in lines if line[2:3] in ("1", "2", "3"))
    assert (first, second) == ("  1 播放音乐   播放一首歌", "  2 set_timer  Count down")
    assert third.startswith("  3 set_alarm  Wake")


def test_an_empty_queue_says_what_the_gates_still_miss(daemon):
    Queue(daemon, wanted=7)
    done = label(daemon)
    assert done.exit_code == 0
    assert "the gates want 7 more labels" in done.stdout
    assert not any("settle" in target for _, target, *_ in daemon.asked)


def test_every_intent_is_listed_and_can_be_chosen_by_its_number(daemon, queue, monkeypatch):
    many = [{"name": f"intent_{n:02}", "description": ""} for n in range(1, 12)]
    monkeypatch.setattr(sys.modules[__name__], "INTENTS", many)
    done = label(daemon, "11", "12", ".")
    for intent in many:
        assert intent["name"] in done.stdout
    assert "  12 none" in done.stdout
    assert queue.said() == [("0", "intent_11"), ("1", "none")]


def test_of_very_many_intents_the_likely_ones_are_listed_and_all_on_demand(
    daemon, queue, monkeypatch
):
    many = [{"name": f"intent_{n:03}", "description": ""} for n in range(150)]
    monkeypatch.setattr(sys.modules[__name__], "INTENTS", many)
    before, after = label(daemon, "?", "140", ".").stdout.split("? all 151", maxsplit=1)
    assert "intent_008" in before
    assert "intent_009" not in before
    assert "intent_149" in after
    assert queue.said() == [("0", "intent_139")]


def test_the_queue_is_listed_without_asking(daemon, queue):
    done = label(daemon, options=("--list",))
    assert "wake me" in done.stdout
    assert "audit 3 wait for you" in done.stdout
    listed = json.loads(label(daemon, options=("--list", "--json")).stdout)
    assert [one["text"] for one in listed["items"]] == TEXTS[:2]
    assert queue.said() == []


@pytest.mark.parametrize(
    "options",
    [
        ["--json"],
        ["--list", "--export", "argilla", "x"],
        ["--export", "prodigy", "x"],
        ["--kind", "golden"],
        ["--limit", "0"],
    ],
)
def test_what_makes_no_sense_is_a_usage_error(daemon, options):
    assert label(daemon, options=options).exit_code == 2


def test_the_queue_is_written_for_a_tool_into_new_files(daemon, folder):
    daemon.says("GET /v1/labels?format=labelstudio", [{"data": {"text": "歌"}}])
    daemon.says("GET /v1/labels?format=labelstudio.xml", b"<View/>")
    done = label(daemon, options=("--export", "labelstudio", "queue.json"))
    assert done.stdout.splitlines() == [
        "wrote queue.json: 1 text",
        "wrote queue.xml: the labelling interface of the project",
    ]
    assert json.loads((folder / "queue.json").read_text("utf-8")) == [{"data": {"text": "歌"}}]
    assert (folder / "queue.xml").read_text() == "<View/>"
    again = label(daemon, options=("--export", "labelstudio", "queue.json"))
    assert (again.exit_code, "exists" in again.stderr) == (1, True)


def test_a_tools_answers_are_taken_back_and_each_refusal_is_told(daemon, folder):
    (folder / "back.json").write_text("[]")
    told = {"accepted": 4, "duplicates": 1, "unanswered": 2, "rejected": []}
    daemon.says("POST /v1/labels/import?format=argilla", told)
    done = label(daemon, options=("--import", "argilla", "back.json"))
    assert done.stdout == "back.json: 4 new, 1 known already, 2 unanswered\n"
    told["rejected"] = [{"line": 3, "item": "audit:p\x1b", "why": "people differ"}]
    done = label(daemon, options=("--import", "argilla", "back.json"))
    assert done.exit_code == 1
    assert "back.json: 3: audit:p\\x1b: people differ" in done.stderr


def test_stats_tell_how_far_two_people_agree(daemon):
    daemon.says("GET /v1/samples", [{"split": "dev", "origin": "seed", "intent": "a", "count": 1}])
    agreed = {"n": 50, "agreed": 45, "raw": 0.9, "kappa": 0.8333, "disputed": 2, "people": 2}
    done = daemon.says("GET /v1/labels/agreement", agreed).run("samples", "stats")
    assert "two people agree on 90.0 % of 50 texts, kappa 0.83; 2 texts disputed" in done.stdout


# A real terminal


def _hear_ctrl_c():
    """Tests that a shell runs in the background inherit that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """The command in a terminal of its own."""

    def __init__(self, folder, *options):
        self.master, inner = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flywheel", "samples", "label", *options],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            cwd=folder,
            env=environment,
            start_new_session=True,
            preexec_fn=_hear_ctrl_c,
        )
        os.close(inner)
        self.screen, self.seen = "", 0

    def until(self, text):
        """Read until the text is there, behind what was waited for before."""
        while (place := self.screen.find(text, self.seen)) < 0:
            if not select.select([self.master], [], [], CEILING_S)[0]:
                pytest.fail(f"no {text!r} in {self.screen[self.seen :]!r}")
            try:
                self.screen += os.read(self.master, 65536).decode("utf-8", "replace")
            except OSError:  # the other end is closed
                pytest.fail(f"it ended before {text!r}: {self.screen}")
        self.seen = place + len(text)

    def press(self, *keys):
        for key in keys:
            os.write(self.master, key.encode())

    def kill(self):
        """End it whatever it waits for."""
        self.process.kill()
        self.process.wait()

    def end(self):
        code = self.process.wait(CEILING_S)
        while select.select([self.master], [], [], 0.1)[0]:
            try:
                self.screen += os.read(self.master, 65536).decode("utf-8", "replace")
            except OSError:
                break
        os.close(self.master)
        return code


@pytest.fixture
def terminal(queue, folder):
    started = Terminal(folder)
    yield started
    started.kill()


def test_on_a_terminal_a_key_chooses(queue, terminal):
    terminal.until("wake me")
    terminal.until("or type a name")
    terminal.press("2")
    terminal.until("我要听音乐")
    terminal.press("播", "x", "\x7f", "\r")  # letters, a slip, Enter
    terminal.until("clear \\x1b[2J it")
    terminal.press("\x1a")  # Ctrl-Z takes back
    terminal.until("taken back")
    terminal.press("\x1b[A", "0")  # an arrow is no answer
    terminal.until("clear")
    terminal.press("-")
    assert terminal.end() == 0
    assert queue.said() == [("0", "set_timer"), ("1", "none"), ("2", None)]
    assert "\x1b[2J" not in terminal.screen
    assert "2 labels: 2 audit, 1 skipped" in terminal.screen


def test_ctrl_c_leaves_the_terminal_as_it_was_and_the_answers_kept(queue, terminal):
    before = termios.tcgetattr(terminal.master)
    terminal.until("or type a name")
    terminal.press("1")
    terminal.until("or type a name")
    os.kill(terminal.process.pid, signal.SIGINT)
    terminal.until("1 label: 1 audit")
    assert termios.tcgetattr(terminal.master) == before
    assert terminal.end() == 130
    assert queue.said() == [("0", "set_alarm")]
    assert "Traceback" not in terminal.screen


# What was meant

names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs"]), min_size=1, max_size=8)
choices = st.lists(names, min_size=1, max_size=8, unique=True).map(
    lambda found: [IntentChoice(name=name) for name in found]
)


@given(choices, names)
def test_the_choices_that_fit_are_of_all_and_without_typing_they_are_all(found, typed):
    assert set(ranked(found, (), "")) == set(found)
    assert set(ranked(found, (), typed)) <= set(found)


@given(choices, st.randoms())
def test_a_whole_name_always_means_that_intent_unless_it_is_a_command(found, chance):
    one = chance.choice(found)
    assert understood(f" {one.name} ", found[:9], found) == one.name


@given(choices)
def test_the_guesses_come_first_in_their_order(found):
    first = [choice.name for choice in reversed(found)]
    assert [choice.name for choice in ranked(found, first, "")] == first


@given(choices, st.text(max_size=6))
def test_any_line_means_an_intent_a_command_or_candidates(found, line):
    meant = understood(line, found[:9], found)
    known = {choice.name for choice in found} | {"none"} | set(COMMANDS.values())
    assert meant in known if isinstance(meant, str) else set(meant) <= known


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("２", "播放音乐"),
        ("０", "none"),
        ("。", "."),
        ("《", "<"),
        ("－", "-"),
        ("播放", "播放音乐"),
    ],
)
def test_full_width_keys_of_an_input_method_are_the_keys(line, meant):
    found = [IntentChoice(name=name) for name in ("设置闹钟", "播放音乐")]
    assert understood(line, found, found) == meant


def test_a_better_fit_comes_first():
    found = [IntentChoice(name=name) for name in ("reset_time", "time", "set_timer", "my_times")]
    assert [one.name for one in ranked(found, (), "time")] == [
        "time",
        "reset_time",
        "set_timer",
        "my_times",
    ]
    assert understood("time", found, found) == "time"
    assert understood("sttmr", found, found) == "set_timer"
