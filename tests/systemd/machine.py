"""A throw-away machine: this one's files under an overlay, booted by a systemd of its own.

Nothing that happens in it reaches the file system below; the mounts are in a private namespace
and vanish with its last process.
"""

import contextlib
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.waiting import CEILING_S

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BOOT = """
set -eu
mount -t tmpfs -o size=4g,mode=755 tmpfs {base}
mkdir {base}/upper {base}/work {base}/root
mount -t overlay overlay -o lowerdir=/,upperdir={base}/upper,workdir={base}/work {base}/root
cd {base}/root
rm -f etc/machine-id
ln -sf /dev/null etc/systemd/system/systemd-firstboot.service
mkdir -p {targets}
exec systemd-nspawn --quiet --boot --register=no --keep-unit --private-network --console=pipe \
  --machine=flywheel-test --directory={base}/root {binds} -- systemd.unit=multi-user.target
"""


@dataclass
class Machine:
    """A running one; every command and its answer is kept in `transcript`."""

    leader: int  # its systemd, seen from outside
    transcript: list[str] = field(default_factory=list)

    def run(self, command, *, user="root", cwd="/", check=True, timeout=CEILING_S):
        """Run a shell command in it; returns what it wrote to standard output."""
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid"]
        into = ["nsenter", "--target", str(self.leader), *spaces]
        clean = ["env", "-i", f"PATH={PATH}", "LANG=C.UTF-8"]
        shell = ["sh", "-c", f"cd {shlex.quote(cwd)} && {command}"]
        who = ["runuser", "-u", user, "--"] if user != "root" else []
        done = subprocess.run(
            [*into, *who, *clean, *shell],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        prompt = "$" if user != "root" else "#"
        said = (done.stdout + done.stderr).rstrip()
        self.transcript.append(f"{prompt} {command}" + (f"\n{said}" if said else ""))
        assert not check or done.returncode == 0, "\n".join(self.transcript[-3:])
        return done.stdout if check else done

    def wait(self, command, wanted, *, timeout=CEILING_S, user="root"):
        """Repeat a command until its output is, or satisfies, `wanted`."""
        until = time.monotonic() + timeout
        while True:
            said = self.run(command, user=user, check=False).stdout.strip()
            if wanted(said) if callable(wanted) else said == wanted:
                return said
            assert time.monotonic() < until, "\n".join(self.transcript[-3:])
            del self.transcript[-1]
            time.sleep(0.2)


@contextlib.contextmanager
def booted(base: Path, binds: Mapping[Path, str]) -> Iterator[Machine]:
    """Boot a machine over the empty folder `base`; folders are bound read-only into it."""
    script = _BOOT.format(
        base=base,
        targets=" ".join(target.lstrip("/") for target in binds.values()),
        binds=" ".join(f"--bind-ro={source}:{target}" for source, target in binds.items()),
    )
    console = (base.parent / "console.log").open("w")
    nspawn = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=console,
    )
    try:
        machine = Machine(leader=_leader(nspawn))
        machine.wait(
            "systemctl is-system-running",
            lambda said: said in ("running", "degraded"),
        )
        machine.transcript.clear()
        yield machine
        machine.run("systemctl poweroff --no-block")
        nspawn.wait(CEILING_S)
    finally:
        if nspawn.poll() is None:
            nspawn.kill()
            nspawn.wait()
        console.close()


def _leader(nspawn):
    """The first process of the machine, once it is systemd."""
    until = time.monotonic() + CEILING_S
    children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children")
    while time.monotonic() < until:
        assert nspawn.poll() is None, "systemd-nspawn ended: see console.log"
        for child in children.read_text().split():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
        time.sleep(0.1)
    raise AssertionError("the machine did not boot")
