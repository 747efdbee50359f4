"""Modules that prose names are there: pages, docstrings and comments outlive a rename otherwise."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ROOT / "flywheel"
HISTORY = {ROOT / "CHANGELOG.md", ROOT / "docs" / "log.md"}
PATTERNS = (
    "*.md",
    "*.toml",
    "Makefile",
    "docs/**/*.md",
    "docs/**/*.py",
    "flywheel/**/*.py",
    "plugins/*.py",
    "benchmarks/*.py",
    "deploy/**/*",
)
READ = sorted(
    path
    for pattern in PATTERNS
    for path in ROOT.glob(pattern)
    if path.is_file() and path not in HISTORY
)
PACKAGES = "|".join(sorted(path.parent.name for path in CODE.glob("*/__init__.py")))
PATH = re.compile(r"(?<![\w./~-])((?:\w+/)+\w+\.py)\b")
DOTTED = re.compile(
    r"(?<![\w./@-])flywheel((?:\.[A-Za-z_]\w*)+)(?![\w/@-])"
)  # `flywheel.gates.judge`
IN_A_ROOM = re.compile(rf"`((?:{PACKAGES})(?:[./]\w+)+)[`(]")  # `gates.judge`, `gates/judge`
SUFFIXES = {"json", "jsonl", "sock", "duckdb", "wal", "service", "conf", "log", "slice", "target"}
"""What ends the name of a file that begins like a module: `flywheel.sock`."""
KEYS = {"state_dir", "log_dir", "uid", "login", "listener", "caller", "gone"}
"""What ends the name of a key that begins like a module: of config.toml, of a request's scope."""


def is_there(parts):
    """Whether these names lead from the package to a module, or to a name in one."""
    at = CODE
    for number, part in enumerate(parts):
        if (at / part).is_dir():
            at = at / part
        else:
            module = at / f"{part}.py"
            inside = parts[number + 1 :] if module.exists() else parts[number:]
            text = (module if module.exists() else at / "__init__.py").read_text(encoding="utf-8")
            return not inside or re.search(rf"\b{inside[0]}\b", text) is not None
    return True


def gone(text):
    """Modules that a text names and that are not there; those of `plugins/` are the reader's."""
    for path in PATH.findall(text):
        roots = (ROOT, CODE, ROOT / "tests")
        if not path.startswith("plugins/") and not any((root / path).exists() for root in roots):
            yield path
    dotted = [name.strip(".").split(".") for name in DOTTED.findall(text)]
    dotted += [re.split(r"[./]", name) for name in IN_A_ROOM.findall(text)]
    for parts in dotted:
        if parts[-1] not in {*SUFFIXES, *KEYS, "py"} and not is_there(parts):
            yield ".".join(parts)


@pytest.mark.parametrize("path", READ, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_that_is_named_is_there(path):
    assert list(gone(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see `gates/judge.py` and tests/house/test_house.py", []),
        ("see `gates/judging.py`", ["gates/judging.py"]),
        ("`flywheel.gates.judge.GATES`, `gates.GATES`, `gates.judge()`", []),
        ("`flywheel.gates.judging`", ["gates.judging"]),
        ("`metrics.evidence` and `metrics/evidence`", ["metrics.evidence", "metrics.evidence"]),
        ("flywheel.wheel.Wheel", ["wheel.Wheel"]),
        ("`flywheel.sock`, `worker.json`, plugins/mine.py", []),
    ],
)
def test_what_is_gone_is_found(text, found):
    assert list(gone(text)) == found
