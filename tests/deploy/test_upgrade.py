"""The page on upgrades, from the version before to this one and back, as its reader does it.

The version before is the last tag or, where there is none, the commit before the last migrations.
Only what needs a network is done otherwise: instead of `git pull` and `git checkout` the other
version's folder comes first.
"""

import json
import re
import subprocess
import sys

import pytest
from pages import ROOT, blocks
from terminals import Terminal
from test_blocks import needs

from tests.waiting import until

PAGE = ROOT / "docs" / "how-to" / "upgrade.md"
STARTER = ROOT / "flywheel" / "demo" / "starter"
WITHOUT_A_TAG = "6cd0e03"  # schema 11
_BLOCK_S = 600.0

pytestmark = pytest.mark.slow


def git(*arguments):
    asked = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(asked, check=False, capture_output=True)


@pytest.fixture
def earlier(tmp_path):
    """The checkout of the version before."""
    tag = git("describe", "--tags", "--abbrev=0").stdout.decode().strip()
    packed = git("archive", tag or WITHOUT_A_TAG)
    if packed.returncode != 0:
        pytest.skip("needs the repository with its history: git archive of the version before")
    folder = tmp_path / "earlier"
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    return folder


class Installed:
    """A `flywheel` that is the version that was installed last."""

    def __init__(self, folder):
        self.bin = folder / "bin"
        self.bin.mkdir()
        self._named = self.bin / "checkout"
        script = self.bin / "flywheel"
        python = f'PYTHONPATH="$(cat "{self._named}")" exec "{sys.executable}" -m flywheel "$@"'
        script.write_text(f"#!/bin/sh\n{python}\n", encoding="utf-8")
        script.chmod(0o755)

    def install(self, checkout):
        self._named.write_text(str(checkout), encoding="utf-8")

    def run(self, folder, *arguments, text=None, check=True):
        done = subprocess.run(
            [self.bin / "flywheel", *arguments],
            cwd=folder,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def status(self, folder):
        return json.loads(self.run(folder, "status", "--json").stdout)


@pytest.fixture
def installed(tmp_path):
    return Installed(tmp_path)


def test_upgraded_by_the_page_it_goes_on_and_by_the_page_it_goes_back(tmp_path, earlier, installed):
    router = tmp_path / "router"
    installed.install(earlier)
    installed.run(tmp_path, "init", "router")
    (router / "intents.toml").write_bytes((STARTER / "intents.toml").read_bytes())
    terminals = Terminals(router, tmp_path / "terminals.log", installed)
    try:
        terminals.paste("flywheel run &\n")
        before = a_first_champion(installed, router)
        parts = sections()
        terminals.paste_all(parts["Back up"])
        terminals.paste_all(parts["Stop, install, start"], lambda: installed.install(ROOT))
        upgraded = installed.status(router)
        assert facts(upgraded) == before
        assert "problems" not in installed.run(router, "db", "check").stdout.split()
        it_goes_on(installed, router)
        its_server_answers_with_the_champion_of_before(installed, router, before["champion"])
        terminals.paste_all(parts["Go back"], lambda: refused_then(installed, router, earlier))
        assert facts(installed.status(router)) == before
    finally:
        terminals.close()


def a_first_champion(installed, router):
    """By the version before: samples, events, feedback, a turn, an approval."""
    for name in ("seed", "dev", "golden"):
        installed.run(router, "samples", "import", STARTER / f"{name}.jsonl", "--split", name)
    installed.run(router, "ingest", "-", text=events(0, 40))
    installed.run(router, "turn", "start", "--wait")
    (decision,) = json.loads(installed.run(router, "review", "list", "--json").stdout)
    installed.run(router, "review", "approve", decision["id"], "--because", "looked at it")
    found = facts(installed.status(router))
    assert found["champion"]
    assert found["predictions"] == found["feedback"] == 40
    return found


def it_goes_on(installed, router):
    """By this version: events arrive, known ones are known, and a turn runs to its end."""
    installed.run(router, "ingest", "-", text=events(20, 60))
    until(lambda: installed.status(router)["backlog"]["predictions"] == 60)
    config = router / "config.toml"
    text = config.read_text(encoding="utf-8")
    config.write_text(re.sub(r"(?m)^# min_new_samples = .*$", "min_new_samples = 0", text))
    installed.run(router, "reload")
    installed.run(router, "turn", "start", "--wait")
    turns = json.loads(installed.run(router, "turn", "list", "--json").stdout)
    assert [turn["state"] in ("done", "held") for turn in turns] == [True, True]


def its_server_answers_with_the_champion_of_before(installed, router, champion):
    """An adapter of the version before carries no test vector, and answers all the same."""
    with (router / "serve.log").open("w") as log:
        command = [installed.bin / "flywheel", "serve"]
        server = subprocess.Popen(command, cwd=router, stdout=log, stderr=log)
    asked = ["curl", "-s", "--unix-socket", str(router / "var" / "serve.sock")]
    body = ["-H", "content-type: application/json", "-d", '{"text": "wake me at seven"}']
    try:
        until(lambda: said_by([*asked, "http://localhost/readyz"]) == "ready\n", "it answers")
        answer = json.loads(said_by([*asked, "http://localhost/v1/predict", *body]))
        assert answer["adapter"] == champion
        until(lambda: installed.status(router)["backlog"]["predictions"] == 61)
    finally:
        server.terminate()
        server.wait()


def said_by(command):
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def refused_then(installed, router, earlier):
    """The version before does not touch the newer database: it says what to do."""
    installed.install(earlier)
    refused = installed.run(router, "run", check=False)
    assert refused.returncode == 1
    assert "newer" in refused.stderr


def events(start, end):
    """Predictions and the feedback on each, as lines."""
    lines = []
    for n in range(start, end):
        when = {"ts": f"2026-11-22T05:{n:02}:00Z"}
        said = {"text": f"wake me at {n}", "intent": "set_alarm", "confidence": 0.9}
        lines.append({"id": f"p-{n}", **when, **said})
        lines.append({"id": f"f-{n}", "prediction_id": f"p-{n}", **when, "verdict": "correct"})
    return "".join(json.dumps(line) + "\n" for line in lines)


def facts(status):
    """What a version may not change."""
    backlog = status["backlog"]
    return {
        "champion": status["champion"],
        "predictions": backlog["predictions"],
        "feedback": backlog["feedback"],
        "golden": (status["golden"]["generation"], status["golden"]["rows"]),
    }


def sections():
    """The shell blocks of the page by the heading that they stand under."""
    heads = [
        (number, line.removeprefix("## "))
        for number, line in enumerate(PAGE.read_text(encoding="utf-8").splitlines(), 1)
        if line.startswith("## ")
    ]
    found = {title: [] for _, title in heads}
    for block in blocks(PAGE):
        title = [title for number, title in heads if number < block.line][-1]
        if block.language == "sh":
            found[title].append(block)
    return found


class Terminals:
    """Terminals in the router's folder; a daemon in the foreground takes one."""

    def __init__(self, folder, log, installed):
        self._folder, self._log, self._installed = folder, log, installed
        self._opened = []

    def paste(self, text):
        if not self._opened or self._opened[-1].taken:
            self._opened.append(Terminal(self._folder, self._log))
            self._opened[-1].paste(f'PATH="{self._installed.bin}:$PATH"\n', _BLOCK_S)
        self._opened[-1].paste(text, _BLOCK_S)

    def paste_all(self, page_blocks, instead=None):
        """Paste blocks in order; `instead` is done for the one that needs the network."""
        for block in page_blocks:
            if needs(block) == "the network":
                instead()
            else:
                self.paste(block.text)

    def close(self):
        for each in self._opened:
            each.close()
