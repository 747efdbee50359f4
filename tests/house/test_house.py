"""The house rules that no linter knows: sizes, names, and what may not be written at all."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = sorted([*ROOT.glob("flywheel/**/*.py"), *ROOT.glob("plugins/*.py")])
ALL_PYTHON = sorted([*CODE, *ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/*.py")])
PROSE = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "*.toml", "deploy/*", "Makefile", ".ci/run")
    for path in ROOT.glob(pattern)
    if path.is_file()
)
VAGUE = re.compile(r"(^|_)(utils?|helpers?|common|managers?|misc)(_|$)")
# Assembled from parts, so that this file does not find itself.
ONE_MACHINE = re.compile(r"(?<![\w.])/(" + "|".join(["work", "farm", "root"]) + r")/\w")
BANNED_IMPORTS = {"pickle", "shelve", "marshal", "dill", "cloudpickle"}


def named(paths: list[Path]) -> pytest.MarkDecorator:
    """Run a test once per file, named by its path in the repository."""
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(ROOT)))


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


@named(CODE)
def test_a_module_is_at_most_500_lines(path):
    assert path.read_text(encoding="utf-8").count("\n") <= 500


@named(CODE)
def test_a_function_is_at_most_50_lines(path):
    long = [
        f"{node.name} (line {node.lineno})"
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > 50
    ]
    assert long == []


@named(CODE)
def test_a_module_says_what_it_is_for(path):
    assert path.read_text(encoding="utf-8") == "" or ast.get_docstring(
        ast.parse(path.read_text(encoding="utf-8"))
    )


@named(CODE)
def test_a_module_is_named_for_what_lives_there(path):
    assert not VAGUE.search(path.stem)
    assert not VAGUE.search(path.parent.name)


@named(CODE)
def test_rows_are_never_inserted_one_at_a_time(path):
    attributes = {node.attr for node in nodes(path) if isinstance(node, ast.Attribute)}
    assert "execute" + "many" not in attributes


@named(CODE)
def test_a_result_is_read_to_its_end(path):
    """DuckDB 2 refuses other work on a connection until then."""
    attributes = {node.attr for node in nodes(path) if isinstance(node, ast.Attribute)}
    assert attributes & {"fetch" + "one", "fetch" + "many"} == set()


@named(CODE)
def test_html_is_written_by_templates_that_escape(path):
    marks = re.findall(
        r"</?(?:html|body|table|t[dhr]|p|span|svg|script)[ >]", path.read_text("utf-8")
    )
    assert marks == []


@named(CODE)
def test_nothing_is_unpickled(path):
    imported = {
        name.split(".")[0]
        for node in nodes(path)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
    }
    assert imported & BANNED_IMPORTS == set()


@named([*ALL_PYTHON, *PROSE])
def test_no_path_of_one_machine_is_written_down(path):
    assert not ONE_MACHINE.search(path.read_text(encoding="utf-8"))


def test_plugins_are_short_enough_to_copy():
    for path in ROOT.glob("plugins/*.py"):
        assert path.read_text(encoding="utf-8").count("\n") <= 40, path.name


def test_the_top_level_is_as_the_contract_says():
    wanted = (
        "pyproject.toml flywheel plugins tests config.toml deploy logs README.md CHANGELOG.md "
        "Makefile docs benchmarks .ci/run constraints.txt"
    )
    assert [name for name in wanted.split() if not (ROOT / name).exists()] == []


def test_every_pinned_package_is_pinned_exactly():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert all("==" in line for line in lines if line and not line.startswith("#"))


def test_no_two_test_files_share_a_name():
    """Tests are no packages, so that a second file of a name stops the whole run."""
    names = [path.name for path in ROOT.glob("tests/**/*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


def test_a_public_class_name_is_used_once():
    names = [
        node.name
        for path in CODE
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_a_module_name_in_two_rooms_is_listed_with_its_noun():
    rooms: dict[str, list[str]] = {}
    for path in CODE:
        if not path.stem.startswith("__") and "templates" not in path.parts:
            rooms.setdefault(path.stem, []).append(path.parent.name)
    page = (ROOT / "docs/explanation/the-house.md").read_text(encoding="utf-8")
    lines = page.partition("## One noun on two floors")[2].partition("## ")[0].splitlines()
    listed = {
        cells[1].strip("` "): re.findall(r"\w+", cells[2])
        for cells in (line.split("|") for line in lines if line.startswith("| `"))
    }
    plugins = {path.stem for path in ROOT.glob("plugins/*.py")}
    found = {name: sorted(where) for name, where in rooms.items() if len(where) > 1}
    assert {name: where for name, where in found.items() if name not in plugins} == listed


def test_one_function_alone_writes_the_champion():
    """Every other way would go past its guard: a person's word, what was compared, the files."""
    writers = [
        (path.relative_to(ROOT).as_posix(), function.name)
        for path in CODE
        for function in nodes(path)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for name in ast.walk(function)
        if isinstance(name, ast.Attribute | ast.Name)
        and "set_champion" in (getattr(name, "attr", ""), getattr(name, "id", ""))
    ]
    assert writers == [("flywheel/turn/apply.py", "_crown")]
    words = re.compile(r"\b(INTO|UPDATE|FROM|TABLE)\s+champions\b", re.IGNORECASE)
    texts = [*CODE, *ROOT.glob("flywheel/**/*.sql")]
    writes = [
        (path.relative_to(ROOT).as_posix(), found[0].split()[0])
        for path in texts
        for found in re.finditer(words, path.read_text(encoding="utf-8"))
        if found[1].upper() != "FROM"
    ]
    assert writes == [
        ("flywheel/store/adapters.py", "INTO"),
        ("flywheel/store/migrations/0004_decisions.sql", "TABLE"),
    ]
    deletes = re.compile(r"DELETE\s+FROM\s+champions|['\"]champions['\"]", re.IGNORECASE)
    found = [path.name for path in texts if deletes.search(path.read_text(encoding="utf-8"))]
    assert found == ["personal_columns.py"]  # lists every table; of this one nothing is erased


def test_one_module_makes_files_durable():
    """The logs that are appended to sync by themselves: many events at once."""
    calls = ("os.fsync(", "os.fdatasync(")
    syncing = [path for path in CODE if any(c in path.read_text(encoding="utf-8") for c in calls)]
    appending = [ROOT / "flywheel/inference/answer_log.py", ROOT / "flywheel/spool.py"]
    assert sorted(syncing) == sorted([ROOT / "flywheel/files.py", *appending])
