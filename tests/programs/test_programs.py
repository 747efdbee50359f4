"""What programs inherit of the daemon's environment, and how a command is held within bounds."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import until

from flywheel import programs

NAMES = st.sampled_from(
    ["PATH", "HF_TOKEN", "HF_HOME", "OPENAI_API_KEY", "FLYWHEEL_HOOK_TOKEN", "LC_ALL", "MY_SETTING",
     "PYTHONPATH", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "CREDENTIALS_DIRECTORY"]
)  # fmt: skip
USUAL = {"PATH", "HF_HOME", "LC_ALL", "PYTHONPATH", "HTTPS_PROXY"}


@given(st.dictionaries(NAMES, st.text()), st.lists(NAMES))
def test_a_program_gets_the_usual_variables_and_those_that_are_named_for_it(environment, also):
    assert programs.inherited(environment, also) == {
        name: value for name, value in environment.items() if name in USUAL or name in also
    }


def python(code, **bounds):
    return programs.run([sys.executable, "-c", code], **{"timeout_s": 60.0, **bounds})


def test_a_command_that_ends_tells_its_status_and_the_end_of_its_errors():
    code = "import sys; sys.stderr.write('错' * 100_000 + ' done\\n'); sys.exit(3)"
    done = python(code)
    assert done.code == 3
    assert done.said.endswith("错错 done")
    assert len(done.said.encode()) <= 4096 + 2  # the first character may be cut


def test_a_command_gets_its_input_and_may_leave_it_unread(tmp_path):
    read = f"import sys; open({str(tmp_path / 'read')!r}, 'w').write(str(len(sys.stdin.read())))"
    assert python(read, body=b"x" * 1_000_000).code == 0
    assert (tmp_path / "read").read_text() == "1000000"
    assert python("pass", body=b"x" * 1_000_000).code == 0


def test_output_without_end_is_thrown_away():
    code = "import sys\nfor _ in range(200): sys.stdout.write('x' * 1_000_000)"
    assert python(code) == programs.Finished(0, "")


def test_a_command_that_does_not_end_is_killed_with_all_it_started(tmp_path):
    code = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
        "time.sleep(600)"
    )
    with pytest.raises(TimeoutError, match=r"no end after 5 s; killed"):
        python(code, timeout_s=5.0)
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not _alive(pid), "the grandchild is gone")


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_child_that_goes_on_in_the_background_holds_up_nothing():
    done = programs.run(["sh", "-c", "sleep 30 & echo started >&2"], timeout_s=20.0)
    assert done == programs.Finished(0, "started")


def test_what_is_not_there_cannot_be_started():
    with pytest.raises(FileNotFoundError):
        programs.run(["/nowhere/at/all"], timeout_s=1.0)
