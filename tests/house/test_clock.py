"""No test knows the clock: none says how long something took, none sleeps instead of waiting."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FILES = sorted(path for path in TESTS.rglob("*.py") if path.name != "waiting.py")
CLOCKS = {"time", "monotonic", "perf_counter", "process_time", "thread_time"}
CLOCKS |= {f"{name}_ns" for name in CLOCKS}
USED = {"ru_utime", "ru_stime"}  # of processor time, by `getrusage`
LEAST_S = 60.0
PATIENT = {"communicate", "join", "wait", "wait_for", "settimeout", "acquire", "stop"}
# Where a clock is what is tested, or the machine is one of its own.
EXCEPTIONS = {
    "daemon/test_restore_live.py: wait(0.05)": "a client's pause before it tries again",
    "docs/terminals.py: compares a clock": "ends a shell that a page's block hangs",
    "docs/terminals.py: settimeout(10)": "asks again where the daemon is not ready",
    "docs/terminals.py: sleep": "polls a shell, not a condition in Python",
    "sources/test_runner.py: stop(0.05)": "a source that hangs is given up",
    "systemd/machine.py: sleep": "polls a machine that boots",
    "systemd/machine.py: compares a clock": "polls a machine that boots",
    "systemd/test_service.py: sleep": "a watchdog must have had its time, and not have barked",
}


def named(node: ast.AST) -> str:
    """Last part of a name: `sleep` of `time.sleep`."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def reads_clock(node: ast.AST) -> bool:
    """Whether something that reads a clock, as `time.monotonic` or `ru_utime`, is inside."""
    return any(
        each.attr in USED or (each.attr in CLOCKS and named(each.value) == "time")
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
    )


def taken_from_clock(tree: ast.AST) -> set[str]:
    """Names of variables that hold what a clock said, also by way of others."""
    found: set[str] = set()
    assignments = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    for _ in range(3):
        for node in assignments:
            inside = {named(each) for each in ast.walk(node.value) if isinstance(each, ast.Name)}
            if reads_clock(node.value) or inside & found:
                found |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} - inside
    return found


def seconds_of(call: ast.Call) -> Iterator[float]:
    """Numbers that a call waits for at most."""
    positional = call.args[:1] if named(call.func) in PATIENT else []
    if named(call.func) == "wait_for":
        positional = call.args[1:]
    keywords = [keyword.value for keyword in call.keywords if keyword.arg == "timeout"]
    for value in [*positional, *keywords]:
        if isinstance(value, ast.Constant) and isinstance(value.value, int | float):
            yield float(value.value)


def knows_the_clock(tree: ast.AST) -> Iterator[str]:
    """What a test file does with clocks that it may not."""
    held = taken_from_clock(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            if reads_clock(node) or names & held:
                yield "compares a clock"
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and (
                (named(node.func.value), node.func.attr) == ("time", "sleep")
            ):
                yield "sleep"
            for seconds in seconds_of(node):
                if 0 < seconds < LEAST_S:
                    yield f"{named(node.func)}({seconds:g})"
        if isinstance(node, ast.keyword) and node.arg == "deadline":
            yield "sets a deadline"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_a_test_knows_no_clock(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {f"{path.relative_to(TESTS)}: {what}" for what in knows_the_clock(tree)}
    assert found - set(EXCEPTIONS) - {"conftest.py: sets a deadline"} == set()


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("time.sleep(1)", ["sleep"]),
        ("began = time.monotonic()\nassert time.monotonic() - began < 3", ["compares a clock"]),
        ("a = time.time()\nb = time.time() - a\nassert b < 3", ["compares a clock"]),
        ("process.communicate(timeout=20)", ["communicate(20)"]),
        ("thread.join(5)", ["join(5)"]),
        ("asyncio.wait_for(living, 10)", ["wait_for(10)"]),
        ("@settings(deadline=300)\ndef test(): ...", ["sets a deadline"]),
        ("thread.join()\nprocess.wait(CEILING_S)\nsource.poll(limit, 0.2)", []),
    ],
)
def test_what_is_found(code, found):
    assert list(knows_the_clock(ast.parse(code))) == found
