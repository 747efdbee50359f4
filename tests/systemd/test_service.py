"""The service, installed by the documented commands on a machine with a real systemd."""

import json
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
STATE = "/var/lib/flywheel"
STATUS = "flywheel status --json"
SERVE_DROP_INS = "/etc/systemd/system/flywheel-serve.service.d"
ALICE = {"user": "alice"}
AT_HOME = {"user": "alice", "cwd": "/home/alice"}
CHECKOUT, PACKAGES, WHEELS = "/usr/src/flywheel", "/opt/packages", "/srv/wheels"
STARTER = f"{CHECKOUT}/flywheel/demo/starter"

pytestmark = [
    pytest.mark.systemd,
    pytest.mark.timeout(3600),
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


def test_the_services_from_their_installation_to_their_end(machine):
    install(machine)
    what_systemd_says_of_the_units(machine)
    an_operator_feeds_it_and_reviews_its_first_turn(machine)
    the_server_answers_with_the_champion(machine)
    strangers_are_kept_out(machine)
    a_reload_is_taken_on(machine)
    killed_in_a_turn_it_starts_again_and_ends_the_turn(machine)
    a_server_that_answers_otherwise_keeps_a_challenger_out(machine)
    mended_it_takes_the_challenger_and_goes_back_to_the_champion(machine)
    a_killed_server_starts_again_and_no_answer_is_lost(machine)
    a_restart_of_the_server_turns_nobody_away(machine)
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
    assert machine.run("systemctl is-active flywheel flywheel-serve") == "active\nactive\n"
    machine.run("useradd --create-home alice && useradd --create-home mallory")
    machine.run(commands_under("Let operators in")[0])


def what_systemd_says_of_the_units(machine):
    for unit in ("flywheel", "flywheel-serve"):
        said = machine.run(f"systemd-analyze verify {unit}.service {unit}@one.service", check=False)
        assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
        said = machine.run(f"systemd-analyze security --offline=true {unit}.service | tail -1")
        assert float(re.search(r"[\d.]+(?= \w+ )", said)[0]) <= 2.0
        machine.run(f"systemctl show {unit} -p ActiveState,SubState,NotifyAccess,StatusText")


def an_operator_feeds_it_and_reviews_its_first_turn(machine):
    machine.run(f"install -m 644 {STARTER}/intents.toml /etc/flywheel/intents.toml")
    machine.run("flywheel reload", user="alice")
    for name in ("seed", "dev", "golden"):
        machine.run(f"flywheel samples import {STARTER}/{name}.jsonl --split {name}", user="alice")
    event = '{"id":"p-1","ts":"2026-11-22T05:17:00Z","text":"wake me at 7","intent":"set_alarm"}'
    machine.run(f"echo '{event}' | flywheel ingest -", user="alice")
    machine.run("flywheel turn start --wait", user="alice", timeout=1500)
    machine.run("flywheel review show", user="alice")
    decision = machine.run("flywheel review list --json", user="alice")
    decision = re.search(r'"id":\s*"(d-\d+)"', decision)[1]
    machine.run(f'flywheel review approve {decision} --because "looked at it"', user="alice")
    machine.wait(STATUS, champion_in, user="alice")  # once the server has proved it
    status = machine.run("flywheel status", user="alice")
    assert re.search(r"champion +a-", status)
    events = machine.run("flywheel review show --json " + decision, user="alice")
    assert "alice (uid" in events


def the_server_answers_with_the_champion(machine):
    assert asked(machine, 1)["adapter"] == champion(machine)
    machine.wait("flywheel status | grep events", lambda said: " 2 predictions" in said, **ALICE)


def a_server_that_answers_otherwise_keeps_a_challenger_out(machine):
    """What this server loads beside the champion has another threshold: the daemon finds it."""
    first = champion(machine)
    allow = 's|^# allow_override = .*|allow_override = ["overall", "intents"]|'
    machine.run(f"sed -i '{allow}' /etc/flywheel/config.toml && systemctl reload flywheel")
    drop_in(
        machine,
        "faulty",
        "ExecStart=",
        f"ExecStart=/opt/flywheel/bin/python {CHECKOUT}/benchmarks/faulty_serve.py "
        "threshold --config /etc/flywheel/config.toml",
    )
    approve(machine, "d-2")
    machine.wait("flywheel review list --json", lambda said: '"parity_failed"' in said, **ALICE)
    machine.run("flywheel review show d-2", user="alice")
    assert champion(machine) == first == asked(machine, 2)["adapter"]
    machine.run(f"rm -r {SERVE_DROP_INS} && systemctl daemon-reload")
    machine.run("systemctl restart flywheel-serve")


def mended_it_takes_the_challenger_and_goes_back_to_the_champion(machine):
    first = champion(machine)
    approve(machine, "d-2")
    machine.wait(STATUS, lambda said: champion_in(said) != first, user="alice")
    second = champion(machine)
    assert asked(machine, 3)["adapter"] == second
    machine.run('flywheel adapters rollback --because "the first one was fine"', user="alice")
    machine.wait(STATUS, lambda said: champion_in(said) == first, user="alice")
    assert asked(machine, 4)["adapter"] == first


def a_killed_server_starts_again_and_no_answer_is_lost(machine):
    """Neither process needs the other; what was answered is there once, whoever is killed."""
    first, before = champion(machine), events_of(machine)
    machine.run("systemctl stop flywheel")
    assert asked(machine, 5)["adapter"] == first
    machine.run(f"kill -9 {main_pid(machine, 'flywheel-serve')}")
    machine.wait("systemctl show flywheel-serve -p NRestarts --value", "1")
    machine.wait("systemctl is-active flywheel-serve", "active")
    assert asked(machine, 6)["adapter"] == first
    machine.run("systemctl start flywheel")
    assert champion(machine) == first
    machine.run(f"kill -9 {main_pid(machine)}")
    assert asked(machine, 7)["adapter"] == first
    machine.wait("systemctl is-active flywheel", "active")
    there = f"events     {before + 3} predictions, 0 feedback"
    machine.wait("flywheel status | grep events", there, user="alice")


def asked(machine, number):
    """The server's answer to a question of an operator, over its socket."""
    body = json.dumps({"text": f"wake me at {number}"})
    curl = f"curl -sS --unix-socket {STATE}/serve.sock http://localhost/v1/predict"
    return json.loads(
        machine.run(f"{curl} -H 'content-type: application/json' -d '{body}'", **ALICE)
    )


def champion(machine):
    return champion_in(machine.run(STATUS, user="alice"))


def champion_in(status):
    return json.loads(status)["champion"]


def events_of(machine):
    return json.loads(machine.run(STATUS, user="alice"))["backlog"]["predictions"]


def approve(machine, decision):
    overridden = "--override overall"
    because = f'--because "looked at it" {overridden}'
    machine.run(f"flywheel review approve {decision} {because}", user="alice")


def drop_in(machine, name, *lines):
    """Change the server's unit, and start it anew."""
    machine.run(f"mkdir -p {SERVE_DROP_INS}")
    text = "\\n".join(("[Service]", *lines, ""))
    machine.run(f"printf '{text}' > {SERVE_DROP_INS}/{name}.conf")
    machine.run("systemctl daemon-reload && systemctl restart flywheel-serve")


def strangers_are_kept_out(machine):
    for command in (
        "curl -sS --unix-socket /var/lib/flywheel/serve.sock http://localhost/v1/models",
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


def a_restart_of_the_server_turns_nobody_away(machine):
    """systemd keeps its sockets: who connects meanwhile waits, and each is answered."""
    ask = f"curl -s -w '%{{http_code}}' --unix-socket {STATE}/serve.sock http://localhost/healthz"
    loop = f'while ! test -e /tmp/enough; do {ask} | tr -d "\\n"; echo; done > /tmp/asked'
    machine.run(f"setsid sh -c '{loop.replace(chr(39), chr(34))}' > /tmp/loop 2>&1 &")
    machine.wait("grep -c ok200 /tmp/asked", lambda said: int(said or 0) > 20)
    pid = main_pid(machine, "flywheel-serve")
    machine.run("systemctl restart flywheel-serve")
    assert main_pid(machine, "flywheel-serve") != pid
    before = int(machine.run("grep -c ok200 /tmp/asked"))
    machine.wait("grep -c ok200 /tmp/asked", lambda said: int(said or 0) > before + 20)
    machine.run("touch /tmp/enough")
    said = machine.run("sort /tmp/asked | uniq -c")
    assert "000" not in said, said  # nobody was refused, and nobody was cut


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
    for unit in ("flywheel", "flywheel-serve"):
        mounts = f"nsenter --target {main_pid(machine, unit)} --mount"
        for place in ("/etc", "/usr", "/opt/flywheel", "/home", "/root"):
            refused = machine.run(f"{mounts} touch {place}/here", check=False)
            assert refused.returncode != 0, (unit, place)
    # The restore made `jobs` anew, so that the server keeps out of it from its next start on.
    for place in ("adapters", "spool", "datasets"):
        refused = machine.run(f"{mounts} touch {STATE}/{place}/here", check=False)
        assert refused.returncode != 0, place
    machine.run("flywheel turn start", user="alice")
    machine.wait("flywheel turn list --json", lambda said: '"state":"train"' in said, user="alice")
    machine.run("systemctl stop flywheel flywheel-serve")
    for unit in ("flywheel", "flywheel-serve"):
        assert machine.run(f"systemctl show {unit} -p Result --value") == "success\n"
    assert machine.run("pgrep -u flywheel", check=False).stdout == ""
    elsewhere = "-path /var/lib/flywheel -prune -o -path /var/log/flywheel -prune"
    # Files of the machine below may vanish meanwhile: that is no failure of the search.
    found = machine.run(
        f"find / -xdev {elsewhere} -o -user flywheel -print; echo searched", timeout=1500
    )
    assert found == "searched\n"


def uninstall(machine):
    for command in commands_under("Uninstall"):
        machine.run(command)
    named = "find / -xdev -iname '*flywheel*' -newer /etc/hostname"
    left = machine.run(named, check=False, timeout=1500).stdout
    kept = [line for line in left.splitlines() if not line.startswith((CHECKOUT, "/srv", "/proc"))]
    assert not [line for line in kept if line.startswith(("/etc", "/opt", "/var/lib/flywheel"))]


def main_pid(machine, unit="flywheel"):
    return machine.run(f"systemctl show {unit} -p MainPID --value").strip()
