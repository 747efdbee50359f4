"""`docs/explanation/the-house.md` says what to touch to add something; here it is added, on a copy.

Each `Change` writes the files that the page's table counts. The copy with all of them must pass
`make docs` and the tests that hold tables and keys together, and what was added must work.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "the-house.md"
COPIED = ("flywheel", "tests", "docs", "plugins", "deploy")
FILES = ("pyproject.toml", "config.toml", "intents.toml", "README.md", "CHANGELOG.md")

SOURCE = '''
"""Three events, for as long as anybody asks."""

from flywheel import errors, protocols


class ThreeEvents:
    """`[sources.NAME]` with the option `text`."""

    def open(self, options, cursor):
        """Refuses every other option."""
        if set(options) != {"text"}:
            raise errors.FlywheelError(f"takes `text`, not {sorted(options)}")
        self.text, self.at = options["text"], int(cursor or 0)

    def poll(self, limit, timeout):
        """Events after the cursor."""
        events = [
            {"id": f"e-{n}", "ts": "2026-11-22T12:00:00Z", "text": self.text, "intent": "a"}
            for n in range(self.at, min(3, self.at + limit))
        ]
        self.at += len(events)
        return protocols.Batch(events=events, cursor=str(self.at)) if events else None

    def ack(self, cursor):
        """Nothing to tell."""

    def close(self):
        """Nothing to close."""


source = ThreeEvents
'''
SOURCE_TEST = """
from flywheel.sources import find
from flywheel.sources.conformance import check


def test_it_keeps_the_contract(tmp_path):
    checks = check(find("three_events", tmp_path), {"text": "wake me"})
    assert [each for each in checks if not each[1]] == []
"""
GATE = '''
"""A gate: is the challenger sure enough of what it says?"""

from statistics import fmean

from flywheel.config.tables import ConfidentRule
from flywheel.records import GateResult


def confident(outcomes, rule: ConfidentRule) -> GateResult:
    """Pass if the mean confidence of the challenger is at least `floor`."""
    values = [row.challenger_confidence for row in outcomes]
    mean = fmean(values)
    verdict = "PASS" if mean >= rule.floor else "FAIL"
    return GateResult(gate="confident", verdict=verdict, value=mean, n=len(values))
'''
GATE_RULE = '''@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidentRule:
    """[gates.confident]: the challenger is sure of what it says."""

    required: bool = False
    floor: float = 0.50  # mean confidence


'''
GATE_ROW = """    Gate(
        name="confident",
        on=lambda table: table.confident.required,
        ask=lambda shown, rule: confident(shown.outcomes, rule),
        measures="mean confidence, which passes at or above its limit",
    ),
"""
GATE_TEST = """
import pytest
from gate_cases import better, evidence

from flywheel import gates
from flywheel.config.tables import ConfidentRule, GatesTable


@pytest.mark.parametrize(("floor", "verdict"), [(0.8, "PASS"), (0.95, "FAIL")])
def test_it_asks_how_sure_the_challenger_is(floor, verdict):
    table = GatesTable(confident=ConfidentRule(required=True, floor=floor))
    assert gates.judge(evidence(better()), table).gate("confident").verdict == verdict


def test_it_is_off_by_default():
    judged = gates.judge(evidence(better()), GatesTable())
    assert "confident" not in [result.gate for result in judged.gates]
"""
GATE_PLUGIN = '''
"""A gate: were at least `rows` rows judged?"""

from flywheel.records import GateResult


def judge(evidence, options):
    """Pass if there are enough rows."""
    n = len(evidence.outcomes)
    return GateResult(gate="rows", verdict="PASS" if n >= options["rows"] else "FAIL", n=n)
'''
QUERY = '''

def predictions_of_region(con: Connection, region: str) -> int:
    """Return how many predictions a region has."""
    return int(scalar(con, "SELECT count(*) FROM predictions WHERE region = ?", [region]))
'''
COLUMN_TEST = """
import json
from datetime import UTC, datetime


from flywheel import formats
from flywheel.loader import Loader
from flywheel.spool import Spool
from flywheel.store import events, open_store
from tests.fakes.spool_writer import append_and_wait

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_it_goes_from_the_event_to_the_query(tmp_path):
    store, spool = open_store(tmp_path / "f.duckdb"), Spool(tmp_path / "spool", 1 << 24)
    sent = [
        {"id": f"p-{n}", "ts": "2026-11-22T05:17:00Z", "text": "x", "intent": "a", **more}
        for n, more in enumerate([{"region": "north"}, {"region": "south"}, {}])
    ]
    body = b"\\n".join(json.dumps(event).encode() for event in sent)
    append_and_wait(spool, formats.write_body("predictions", body, received=NOON).lines)
    Loader(store, spool).drain()
    with store.read() as con:
        regions = ("north", "south", "", "west")
        assert [events.predictions_of_region(con, each) for each in regions] == [1, 1, 1, 0]
    spool.close()
    store.close()


def test_what_is_no_text_is_rejected_by_its_name():
    body = b\'{"id": "p", "ts": "2026-11-22T05:17:00Z", "text": "x", "intent": "a", "region": [7]}\'
    (line,) = formats.read_body(None, body, received=NOON).rejected
    assert line.field == "region"
"""
EXECUTOR = '''
"""Jobs as processes of this machine, at the lowest priority."""

import os

from flywheel.executors.local import LocalExecutor


class PatientExecutor(LocalExecutor):
    """`[executor] kind = "patient"`."""

    kind = "patient"

    def submit(self, job, folder):
        """As a local job, after everybody else."""
        os.nice(19)
        return super().submit(job, folder)
'''
EXECUTOR_TEST = """
from state_folder import write_config

from flywheel.config import load
from flywheel.daemon.wiring import built, refuse
from flywheel.executors.patient import PatientExecutor


def test_the_configuration_names_it(tmp_path):
    config = load(write_config(tmp_path, '[executor]\\nkind = "patient"\\n'))
    refuse(config)
    with built(config) as runtime:
        assert type(runtime.executor) is PatientExecutor
"""
TARGET = '''
"""A file with the id of the adapter in service."""

from flywheel import files


class Note:
    """`[serving] kind = "note"`."""

    immediate = True

    def __init__(self, config):
        self._path = config.state_dir / "adapters" / "serving.txt"

    def promote(self, adapter_id):
        """Write the id down."""
        with files.replacing(self._path) as aside:
            aside.write_text(adapter_id, encoding="utf-8")

    def retire(self):
        """Serve none."""
        self._path.unlink(missing_ok=True)

    def serving(self):
        """The id that is written there."""
        return self._path.read_text(encoding="utf-8") if self._path.exists() else None
'''
TARGET_TEST = """
from state_folder import write_config

from flywheel.config import load
from flywheel.daemon.wiring import built, refuse


def test_the_configuration_names_it(tmp_path):
    config = load(write_config(tmp_path, '[serving]\\nkind = "note"\\n'))
    refuse(config)
    with built(config) as runtime:
        runtime.serving.promote("a-1")
        assert runtime.serving.serving() == "a-1"
    assert (tmp_path / "var" / "adapters" / "serving.txt").read_text() == "a-1"
"""
PLUGIN_TESTS = """
from pathlib import Path

from gate_cases import better, evidence

import flywheel
from flywheel import gates
from flywheel.config.tables import CustomRule, GatesTable
from flywheel.sources import find
from flywheel.sources.conformance import check

PLUGINS = Path(__file__).parents[2] / "plugins"


def test_this_is_the_copy():
    assert Path(flywheel.__file__).parents[1] == PLUGINS.parent


def test_a_source_keeps_the_contract():
    checks = check(find("dropped", PLUGINS), {"text": "wake me"})
    assert [each for each in checks if not each[1]] == []


def test_a_gate_is_asked():
    table = GatesTable(custom={"rows": CustomRule(plugin="rows", options={"rows": 50})})
    own = gates.custom_gates(table, PLUGINS)
    assert gates.judge(evidence(better()), table, own).gate("rows").verdict == "PASS"
"""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What somebody writes to add something."""

    files: dict[str, str] = field(default_factory=dict)  # new ones
    edits: dict[str, dict[str, str]] = field(default_factory=dict)  # by place, what goes before it

    def make(self, folder):
        """Make it in a tree."""
        for name, text in self.files.items():
            path = folder / name
            assert not path.exists()
            path.write_text(text.lstrip("\n"), encoding="utf-8")
        for name, edits in self.edits.items():
            path = folder / name
            code = path.read_text(encoding="utf-8")
            for place, text in edits.items():
                assert code.count(place) == 1, (name, place)
                code = code.replace(place, text + place)
            path.write_text(code, encoding="utf-8")

    @property
    def size(self):
        """Files that were written or edited."""
        return len(self.files.keys() | self.edits.keys())


def next_migration():
    numbers = [int(path.name[:4]) for path in ROOT.glob("flywheel/store/migrations/*.sql")]
    return f"flywheel/store/migrations/{max(numbers) + 1:04}_region.sql"


CHANGES = {
    "a source as a plug-in": Change(files={"plugins/dropped.py": SOURCE}),
    "a built-in source": Change(
        files={
            "flywheel/sources/three_events.py": SOURCE,
            "tests/sources/test_three_events.py": SOURCE_TEST,
        },
        edits={"flywheel/sources/runner.py": {'"jsonl", "parquet"': '"three_events", '}},
    ),
    "a gate as a plug-in": Change(files={"plugins/rows.py": GATE_PLUGIN}),
    "a shipped gate": Change(
        files={
            "flywheel/gates/confident.py": GATE,
            "tests/gates/test_confident.py": GATE_TEST,
        },
        edits={
            "flywheel/gates/judge.py": {
                "from flywheel.gates.evidence import": (
                    "from flywheel.gates.confident import confident\n"
                ),
                ')\n"""The shipped gates, in the order': GATE_ROW,
            },
            "flywheel/config/tables.py": {
                "@dataclass(frozen=True, slots=True, kw_only=True)\nclass GatesTable": GATE_RULE,
                "    custom: dict[str, CustomRule]": (
                    "    confident: ConfidentRule = ConfidentRule()\n"
                ),
            },
        },
    ),
    "a column of predictions": Change(
        files={
            next_migration(): "ALTER TABLE predictions ADD COLUMN region VARCHAR DEFAULT '';\n",
            "tests/store/test_region.py": COLUMN_TEST,
        },
        edits={
            "flywheel/records.py": {
                "    precedence: int = 0": ('    region: str = ""  # where it was said\n')
            },
            "flywheel/store/events.py": {"\n\ndef id_conflicts": QUERY.rstrip("\n")},
        },
    ),
    "an executor": Change(
        files={
            "flywheel/executors/patient.py": EXECUTOR,
            "tests/daemon/test_patient.py": EXECUTOR_TEST,
        },
        edits={
            "flywheel/executors/__init__.py": {
                "from flywheel.protocols": (
                    "from flywheel.executors.patient import PatientExecutor\n"
                ),
                "    LocalExecutor.kind": '    "patient": PatientExecutor,\n',
            }
        },
    ),
    "a serving target": Change(
        files={
            "flywheel/serving/note.py": TARGET,
            "tests/daemon/test_note.py": TARGET_TEST,
        },
        edits={
            "flywheel/serving/__init__.py": {
                "\nSERVING: dict": "from flywheel.serving.note import Note\n",
                '    "link": ': '    "note": Note,\n',
            }
        },
    ),
}


def rows_of_the_page(heading):
    """The cells of the table under a heading."""
    part = PAGE.read_text(encoding="utf-8").partition(heading)[2]
    table = re.search(r"(?:^\|.*\n)+", part, re.MULTILINE)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def test_the_floors_are_those_that_are_checked():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = contracts["tool"]["importlinter"]["contracts"][0]["layers"]
    checked = [set(re.findall(r"\w+", layer)) - {"baselines"} for layer in layers]
    assert [set(re.findall(r"`(\w+)`", row[1])) for row in rows_of_the_page("# The house")] == (
        checked
    )


def test_each_row_that_says_so_is_tested_with_as_many_files():
    rows = {row[0]: (int(row[1]), row[3]) for row in rows_of_the_page("## To add something")}
    tested = {name: files for name, (files, mark) in rows.items() if mark}
    assert tested == {name: change.size for name, change in CHANGES.items()}


def test_what_is_added_works(tmp_path):
    skipped = shutil.ignore_patterns("__pycache__", "version10.tar.gz")
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=skipped)
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    for change in CHANGES.values():
        change.make(tmp_path)
    (tmp_path / "tests" / "gates" / "test_plugins_added.py").write_text(PLUGIN_TESTS, "utf-8")
    in_copy(tmp_path, "docs/generate.py")
    in_copy(
        tmp_path,
        *("-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"),
        *(name for change in CHANGES.values() for name in change.files if "/test_" in name),
        "tests/gates/test_plugins_added.py",
        "tests/gates/test_gate_verdicts.py",
        "tests/daemon/test_wiring.py",
        "tests/house/test_config_keys.py::test_every_key_of_the_configuration_is_read_by_something",
        "tests/cli/test_cli_start.py::test_every_key_is_explained_in_the_template",
        "tests/cli/test_cli_start.py::test_every_default_that_the_template_shows_is_the_default",
        "tests/cli/test_cli_start.py::test_the_projects_own_files_are_what_init_writes",
    )


def in_copy(folder, *arguments):
    """Run Python where `flywheel` is the copy."""
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
