"""The service, installed by the documented commands on a machine with a real systemd."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from machine import booted

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to" / "run-under-systemd.md"
AT_HOME = {"user": "alice", "cwd": "/home/alice"}
CHECKOUT, PACKAGES, WHEELS = "/usr/src/flywheel", "/opt/packages", "/srv/wheels"
STARTER = f"{CHECKOUT}/flywheel/demo/starter"

pytestmark = [
    pytest.mark.systemd,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("systemd-nspawn") is None,
        reason="needs root and systemd-nspawn (Debian: systemd-container)",
    ),
]


def commands_under(heading):
    """The shell commands of one section of the how-to, as root types them."""
    section = HOW_TO.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [
        re.sub(r"\s+", " ", line.split("   #")[0].replace("sudo ", "")).strip()
        for line in lines
        if line.strip() and not line.startswith("#")
    ]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """This checkout as a wheel: there is no network in the machine to build one with."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "flywheel", source / "flywheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--no-index", "-w", built, source], check=True)
    return built


@pytest.fixture
def machine(tmp_path, wheel):
    base = tmp_path / "machine"
    base.mkdir()
    packages = Path(sysconfig.get_paths()["purelib"])
    binds = {ROOT: CHECKOUT, packages: PACKAGES, wheel: WHEELS}
    with booted(base, binds) as running:
        try:
            yield running
        finally:
            text = "\n".join(running.transcript) + "\n"
            (tmp_path / "transcript.txt").write_text(text, encoding="utf-8")
            sys.stdout.write(text)


def test_the_service_from_its_installation_to_its_end(machine):
    install(machine)
    what_systemd_says_of_the_unit(machine)
    an_operator_feeds_it_and_reviews_its_first_turn(machine)
    strangers_are_kept_out(machine)
    a_reload_is_taken_on(machine)
    killed_in_a_turn_it_starts_again_and_ends_the_turn(machine)
    hung_it_is_ended_and_started_again(machine)
    a_backup_takes_the_place_of_its_database_while_it_runs(machine)
    it_stops_soon_and_wrote_nothing_elsewhere(machine)
    uninstall(machine)


def install(machine):
    for command in commands_under("Install"):
        if "pip install" in command:
            # Without a network: this checkout's wheel, beside the packages that the tests use.
            machine.run(
                f"echo {PACKAGES} > /opt/flywheel/lib/python3.11/site-packages/packages.pth"
            )
            command = command.replace(
                "-c constraints.txt .", f"-q --no-deps --no-index {WHEELS}/*.whl"
            )
        machine.run(command, cwd=CHECKOUT)
    assert machine.run("systemctl is-active flywheel") == "active\n"
    machine.run("useradd --create-home alice && useradd --create-home mallory")
    machine.run(commands_under("Let operators in")[0])


def what_systemd_says_of_the_unit(machine):
    said = machine.run("systemd-analyze verify flywheel.service flywheel@one.service", check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    said = machine.run("systemd-analyze security --offline=true flywheel.service | tail -1")
    assert float(re.search(r"[\d.]+(?= \w+ )", said)[0]) <= 2.0
    machine.run("systemctl show flywheel -p ActiveState,SubState,NotifyAccess,StatusText")


def an_operator_feeds_it_and_reviews_its_first_turn(machine):
    machine.run(f"install -m 644 {STARTER}/intents.toml /etc/flywheel/intents.toml")
    machine.run("flywheel reload", user="alice")
    for name in ("seed", "dev", "golden"):
        machine.run(f"flywheel samples import {STARTER}/{name}.jsonl --split {name}", user="alice")
    event = '{"id":"p-1","ts":"2026-11-22T05:17:00Z","text":"wake me at 7","intent":"set_alarm"}'
    machine.run(f"echo '{event}' | flywheel ingest -", user="alice")
    machine.run("flywheel turn start --wait", user="alice", timeout=400)
    machine.run("flywheel review show", user="alice")
    decision = machine.run("flywheel review list --json", user="alice")
    decision = re.search(r'"id":\s*"(d-\d+)"', decision)[1]
    machine.run(f'flywheel review approve {decision} --because "looked at it"', user="alice")
    status = machine.run("flywheel status", user="alice")
    assert re.search(r"champion +a-", status)
    events = machine.run("flywheel review show --json " + decision, user="alice")
    assert "alice (uid" in events


def strangers_are_kept_out(machine):
    for command in (
        "flywheel --config /etc/flywheel/config.toml status",
        "curl -sS --unix-socket /var/lib/flywheel/flywheel.sock http://localhost/v1/status",
    ):
        assert machine.run(command, user="mallory", check=False).returncode != 0


def a_reload_is_taken_on(machine):
    """The new slot shows; and from here on a turn trains although nothing is new."""
    machine.run("sed -i 's|^cron = .*|cron = \"0 5 * * *\"|' /etc/flywheel/config.toml")
    machine.run("sed -i 's|^# min_new_samples = .*|min_new_samples = 0|' /etc/flywheel/config.toml")
    machine.run("systemctl reload flywheel")
    machine.wait("flywheel status | grep 'next turn'", lambda said: "05:00" in said, user="alice")


def killed_in_a_turn_it_starts_again_and_ends_the_turn(machine):
    pid = main_pid(machine)
    machine.run("flywheel turn start", user="alice")
    machine.wait("flywheel turn list --json", lambda said: '"state":"train"' in said, user="alice")
    machine.run(f"kill -9 {pid}")
    machine.wait("systemctl show flywheel -p NRestarts --value", "1")
    machine.wait("systemctl is-active flywheel", "active")
    assert main_pid(machine) != pid
    ended = re.compile(r"t-2 +(done|held|failed)")
    machine.wait("flywheel turn list", ended.search, user="alice")
    assert not re.search(r"t-2 +failed", machine.run("flywheel turn list", user="alice"))


def hung_it_is_ended_and_started_again(machine):
    folder = "/etc/systemd/system/flywheel.service.d"
    machine.run(f"mkdir -p {folder}")
    machine.run(f"printf '[Service]\\nWatchdogSec=4\\n' > {folder}/impatient.conf")
    machine.run("systemctl daemon-reload && systemctl restart flywheel")
    time.sleep(6)  # alive for longer than the watchdog's patience
    pid = main_pid(machine)
    assert machine.run("systemctl show flywheel -p NRestarts --value").strip() == "0"
    machine.run(f"kill -STOP {pid}")
    machine.wait("systemctl show flywheel -p NRestarts --value", "1")
    machine.wait("systemctl is-active flywheel", "active")
    assert "Watchdog timeout" in machine.run("journalctl -u flywheel -g Watchdog --no-pager")
    machine.run(f"rm -r {folder} && systemctl daemon-reload && systemctl restart flywheel")


def a_backup_takes_the_place_of_its_database_while_it_runs(machine):
    """An operator's file, which the service could not read; the service stays one to systemd."""
    pid, events = main_pid(machine), "flywheel status | grep events"
    machine.run("flywheel db backup copy.duckdb && chmod 600 copy.duckdb", **AT_HOME)
    before = machine.run(events, user="alice")
    event = '{"id":"p-9","ts":"2026-11-22T05:17:00Z","text":"wake me at 9","intent":"set_alarm"}'
    machine.run(f"echo '{event}' | flywheel ingest -", user="alice")
    assert machine.run(events, user="alice") != before
    machine.run("flywheel db restore copy.duckdb", **AT_HOME)
    assert machine.run(events, user="alice") == before
    assert main_pid(machine) == pid
    assert machine.run("systemctl is-active flywheel") == "active\n"
    assert machine.run("systemctl show flywheel -p NRestarts --value").strip() == "0"
    kept = machine.run("stat -c %U /var/lib/flywheel/flywheel.duckdb.before-*")
    assert kept == "flywheel\n"


def it_stops_soon_and_wrote_nothing_elsewhere(machine):
    mounts = f"nsenter --target {main_pid(machine)} --mount"
    for place in ("/etc", "/usr", "/opt/flywheel", "/home", "/root"):
        refused = machine.run(f"{mounts} touch {place}/here", check=False)
        assert refused.returncode != 0, place
    machine.run("flywheel turn start", user="alice")
    machine.wait("flywheel turn list --json", lambda said: '"state":"train"' in said, user="alice")
    machine.run("systemctl stop flywheel")
    assert machine.run("systemctl show flywheel -p Result --value") == "success\n"
    assert machine.run("pgrep -u flywheel", check=False).stdout == ""
    elsewhere = "-path /var/lib/flywheel -prune -o -path /var/log/flywheel -prune"
    # Files of the machine below may vanish meanwhile: that is no failure of the search.
    found = machine.run(f"find / -xdev {elsewhere} -o -user flywheel -print; echo searched")
    assert found == "searched\n"


def uninstall(machine):
    for command in commands_under("Uninstall"):
        machine.run(command)
    left = machine.run("find / -xdev -iname '*flywheel*' -newer /etc/hostname", check=False).stdout
    kept = [line for line in left.splitlines() if not line.startswith((CHECKOUT, "/srv", "/proc"))]
    assert not [line for line in kept if line.startswith(("/etc", "/opt", "/var/lib/flywheel"))]


def main_pid(machine):
    return machine.run("systemctl show flywheel -p MainPID --value").strip()
