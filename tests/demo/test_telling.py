"""What the demo prints: who fails and who only stands beside, and each thing once."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from flywheel.demo import telling
from flywheel.demo.telling import Teller, tell_commands, tell_decision, tell_parity, tell_turn

STEPS = [{"name": "curate", "detail": "40 samples kept"}]


def brief(intent: str, why: str, failure: str = "wrong_intent") -> dict[str, Any]:
    return {"intent": intent, "neighbour": None, "failure": failure, "why": why}


def test_an_intent_beside_a_failing_one_is_not_said_to_fail(
    capsys: pytest.CaptureFixture[str],
) -> None:
    turn = {
        "briefs": [
            brief("play_podcast", "play_podcast is wrong."),
            brief("play_music", "play_music stands beside play_podcast.", "border"),
        ],
        "written": {"play_podcast": 20, "play_music": 10},
        "steps": STEPS,
    }
    tell_turn(Teller(), turn)
    printed = capsys.readouterr().out
    assert "  failing: play_podcast is wrong." in printed
    assert "  beside:  play_music stands" in printed
    assert "failing: play_music" not in printed


def test_a_suspected_intent_is_not_said_to_fail(capsys: pytest.CaptureFixture[str]) -> None:
    doubted = brief("play_music", "play_music is wrong in 4 of 9; suspected, not shown.")
    tell_turn(Teller(), {"briefs": [doubted], "written": {"play_music": 10}, "steps": STEPS})
    assert "  suspect: play_music is wrong in 4 of 9" in capsys.readouterr().out


def test_an_intent_with_two_kinds_of_failures_is_told_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    twice = [brief("none", "none is wrong."), brief("none", "none is wrong.", "abstained")]
    tell_turn(Teller(), {"briefs": twice, "written": {"none": 18}, "steps": STEPS})
    printed = capsys.readouterr().out
    assert printed.count("none is wrong.") == 1
    assert printed.count("wrote 18 samples of none") == 1


def decision(verdict: str, status: str, overall: str) -> dict[str, Any]:
    return {
        "id": "d-3",
        "verdict": verdict,
        "status": status,
        "champion": "a-1",
        "challenger": "a-2",
        "summary": "a-2 was refused. Overall failed: -14.0 points",
        "intents": [],
        "gates": [
            {"gate": "hygiene", "verdict": "PASS", "detail": "nothing leaked"},
            {"gate": "overall", "verdict": overall, "detail": "-14.0 points"},
        ],
    }


@pytest.mark.parametrize(
    ("given", "last"),
    [
        (
            decision("reject", "rejected", "FAIL"),
            "d-3: reject: overall FAIL; a-1 serves on, a-2 does not",
        ),
        (
            decision("promote", "applied", "PASS"),
            "d-3: a-2 is promoted and replaces a-1",
        ),
    ],
)
def test_the_verdict_stands_below_the_gates_and_repeats_none_of_their_reasons(
    given: dict[str, Any], last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_decision(Teller(), given)
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == f"  => {last}"
    assert printed.count("-14.0 points") == 1


def test_intents_are_a_table_that_fits_and_stays_aligned(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = {"n": 12, "champion_recall": 0.9, "challenger_recall": None, "losses": 3, "gains": 0}
    names = ("play_music", "播放音乐", "transfer_between_own_accounts_[b]")
    rows = [row | {"intent": name, "verdict": "FAIL"} for name in names]
    tell_decision(Teller(), decision("reject", "rejected", "FAIL") | {"intents": rows[:2]})
    assert capsys.readouterr().out.splitlines()[1:4] == [
        "  intent             n   before   after  lost  won  verdict",
        "  play_music        12     90 %       -     3    0  FAIL",
        "  播放音乐          12     90 %       -     3    0  FAIL",
    ]
    tell_decision(Teller(), decision("reject", "rejected", "FAIL") | {"intents": rows})
    head, *shown = capsys.readouterr().out.splitlines()[1:5]
    assert head.endswith("  won  verdict")
    assert shown[2].startswith("  transfer_between_own_accounts_[b]  12 ")


def test_output_that_is_no_terminal_shows_what_is_under_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(telling, "_PLAIN_S", 0.01)
    teller, said = Teller(), ""
    with teller.busy("t-1") as now:
        now("t-1: train, epoch 1 of 3")
        while "train" not in said:  # the sign of life is awaited, whenever it comes
            said += capsys.readouterr().out
    assert re.search(r"^\[ +\d+ s\] … t-1: train, epoch 1 of 3$", said, re.MULTILINE)


@pytest.mark.parametrize(
    ("asked", "differing", "end"),
    [(117, 0, "117 texts; all as evaluated, by onnx"), (117, 3, "117 texts; 3 differ")],
)
def test_what_the_server_was_asked_is_told(
    capsys: pytest.CaptureFixture[str], asked: int, differing: int, end: str
) -> None:
    parity = {"asked": asked, "differing": differing, "engine": "onnx"}
    tell_parity(Teller(), {"parity": parity})
    assert capsys.readouterr().out == f"  parity: the server was asked {end}\n"


def test_where_no_server_was_asked_nothing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    tell_parity(Teller(), {"parity": None})
    assert capsys.readouterr().out == ""


def test_the_commands_name_the_program_and_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "a folder" / "config.toml"
    tell_commands(Teller(), config)
    commands = [shlex.split(x) for x in capsys.readouterr().out.splitlines() if x[:1] == " "]
    assert [words[-1] for words in commands] == [
        "run",
        "serve",
        "status",
        "intents",
        "t-2",
        "d-2",
        "d-3",
        "list",
    ]
    for words in commands:
        assert words[words.index("--config") + 1] == str(config)


def test_chinese_paragraphs_are_counted_in_cells(capsys: pytest.CaptureFixture[str]) -> None:
    example = {"text": "请在明天早上七点半之前叫我起床" * 6, "before": "none", "after": "set_alarm"}
    telling.tell_examples(Teller(), [example], "fixed")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 2
    assert max(map(cell_len, lines)) <= 80
    assert example["text"] in "".join(line.strip() for line in lines)
