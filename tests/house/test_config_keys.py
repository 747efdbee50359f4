"""A key of config.toml that no code reads fails here, and so does one that prose made up.

The reading is found in the syntax trees of flywheel/, outside of config/: an attribute of that
name on an expression that is known to be that table. Known are `….config` and `config` as the
whole; a table's field of a table's type; a parameter, variable, field or property annotated with
a table's class; what is assigned from one of these; a function's annotated result; and the table
of gates in the `on` of a row of `gates.GATES`. Reading a key by another way (`getattr`,
`asdict`) does not count, and a key that is read but has no effect passes: the test sees names,
not consequences.
"""

import ast
import dataclasses
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from flywheel.config import Config

ROOT = Path(__file__).parents[2]
CODE = [
    path
    for path in sorted(ROOT.glob("flywheel/**/*.py"))
    if path.relative_to(ROOT).parts[1] != "config"
]
NOT_KEYS = {"Config.path", "Config.overrides"}
READ_OTHERWISE = {
    "FlywheelTable.state_dir": "by `Config.state_dir`",
    "ServingTable.socket": "by `Config.serve_path`",
}
UNREAD: dict[str, str] = {}
"""Left out until something reads them."""
_WHOLE = "config"  # name of the whole configuration, wherever it is carried

Types = Mapping[str, Mapping[str, str]]  # class name -> field -> the table's class, or ""


def types_of(root: type) -> dict[str, dict[str, str]]:
    """Every table below `root` with its fields, and the tables that those hold."""
    fields: dict[str, dict[str, str]] = {}
    waiting = [root]
    while waiting:
        table = waiting.pop()
        hints = typing.get_type_hints(table)
        fields[table.__name__] = {}
        for field in dataclasses.fields(table):
            inner = next(
                (t for t in _parts(hints[field.name]) if dataclasses.is_dataclass(t)), None
            )
            fields[table.__name__][field.name] = inner.__name__ if inner else ""
            if inner is not None:
                waiting.append(inner)
    return fields


def _parts(hint: object) -> tuple[type, ...]:
    """The classes in an annotation: `dict[str, SourceTable]` holds sources."""
    return (hint, *typing.get_args(hint))  # type: ignore[arg-type]


class Reads(ast.NodeVisitor):
    """Collects `Table.field` for every attribute that is read on a known table."""

    def __init__(self, types: Types, root: str) -> None:
        self.types, self.root = types, root
        self.found: set[str] = set()
        self.names: list[dict[str, str]] = [{}]  # by scope
        self.own: dict[str, str] = {}  # attributes of the class we are in

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        before, self.own = self.own, {}
        for part in ast.walk(node):  # fields, properties and what methods assign to self
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                self._note(self.own, part.target.id, self._annotated(part.annotation))
            elif isinstance(part, ast.FunctionDef):
                self._note(self.own, part.name, self._annotated(part.returns))
                arguments = {each.arg: self._annotated(each.annotation) for each in part.args.args}
                self.names.append({k: v for k, v in arguments.items() if v})
                for line in ast.walk(part):
                    if isinstance(line, ast.Assign):
                        for target in line.targets:
                            if isinstance(target, ast.Attribute):
                                self._note(self.own, target.attr, self._type(line.value))
                self.names.pop()
        self.generic_visit(node)
        self.own = before

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        scope: dict[str, str] = {}
        for each in (*node.args.args, *node.args.kwonlyargs):
            self._note(scope, each.arg, self._annotated(each.annotation))
        self.names.append(scope)
        self.generic_visit(node)
        self.names.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=False))
            for name, value in pairs:
                if isinstance(name, ast.Name):
                    self._note(self.names[-1], name.id, self._type(value))

    def visit_For(self, node: ast.For) -> None:
        self._loop(node.target, node.iter)
        self.generic_visit(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        for part in node.generators:
            self._loop(part.target, part.iter)
        self.generic_visit(node)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp  # type: ignore[assignment]

    def visit_Attribute(self, node: ast.Attribute) -> None:
        table = self._type(node.value)
        if table and node.attr in self.types[table] and isinstance(node.ctx, ast.Load):
            self.found.add(f"{table}.{node.attr}")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        for keyword in node.keywords:
            if _called(node) == "Gate" and keyword.arg == "on":
                assert isinstance(keyword.value, ast.Lambda)
                self.names.append({keyword.value.args.args[0].arg: "GatesTable"})
                self.visit(keyword.value)
                self.names.pop()
        self.generic_visit(node)

    def _loop(self, target: ast.expr, over: ast.expr) -> None:
        """`for name, source in config.sources.items()`, and the same over values."""
        while isinstance(over, ast.Call) and isinstance(over.func, ast.Name) and over.args:
            over = over.args[0]  # sorted(…), list(…), enumerate(…)
        if isinstance(over, ast.Call) and isinstance(over.func, ast.Attribute):
            table = self._type(over.func.value)
            last = target.elts[-1] if isinstance(target, ast.Tuple) else target
            if isinstance(last, ast.Name):
                self._note(self.names[-1], last.id, table)

    def _type(self, value: ast.expr) -> str:
        """The table that an expression is; "" where that is not known."""
        if isinstance(value, ast.Name):
            known = next((names[value.id] for names in self.names[::-1] if value.id in names), "")
            return known or (self.root if value.id == _WHOLE else "")
        if isinstance(value, ast.Attribute):
            if isinstance(value.value, ast.Name) and value.value.id == "self":
                known = self.own.get(value.attr, "")
            else:
                known = self.types.get(self._type(value.value), {}).get(value.attr, "")
            return known or (self.root if value.attr.lstrip("_") == _WHOLE else "")
        if isinstance(value, ast.Subscript):
            return self._type(value.value)
        if isinstance(value, ast.Call) and value.args and _called(value) in ("replace", "load"):
            return self._type(value.args[0]) if _called(value) == "replace" else self.root
        return ""

    def _annotated(self, annotation: ast.expr | None) -> str:
        names = (
            {part.id for part in ast.walk(annotation) if isinstance(part, ast.Name)}
            if annotation
            else set()
        )
        return next((name for name in sorted(names) if name in self.types), "")

    def _note(self, names: dict[str, str], name: str, table: str) -> None:
        if table:
            names[name] = table


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def unread(root: type, code: Sequence[str]) -> set[str]:
    """`Table.key` of every key below `root` that none of these sources reads."""
    types = types_of(root)
    found: set[str] = set()
    for text in code:
        reads = Reads(types, root.__name__)
        reads.visit(ast.parse(text))
        found |= reads.found
    keys = {
        f"{table}.{name}"
        for table, held in types.items()
        for name, inner in held.items()
        if not inner
    }
    return keys - found


def test_every_key_of_the_configuration_is_read_by_something():
    code = [path.read_text(encoding="utf-8") for path in CODE]
    assert unread(Config, code) - NOT_KEYS == {*READ_OTHERWISE, *UNREAD}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Named:
    """A table like those of the configuration."""

    file: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Other:
    """Another that has a key of the same name."""

    file: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whole:
    """What holds the two."""

    named: Named = Named()
    other: Other = Other()


@pytest.mark.parametrize(
    "code",
    [
        "def f(runtime): return runtime.config.named.file",
        "def f(table: Named): return table.file",
        "def f(config):\n    table = config.named\n    return table.file",
        "class A:\n  def __init__(self, t: Named): self._t = t\n  def f(self): return self._t.file",
        "class A:\n    rule: Named\n    def f(self): return self.rule.file",
    ],
)
def test_a_read_counts_for_its_own_table_alone(code):
    assert unread(Whole, [code]) == {"Other.file"}


@pytest.mark.parametrize(
    "code",
    [
        "def f(path): return path.file",
        "def f(config): config.other = 1",
        "def f(config): return config.named",
    ],
)
def test_a_key_that_nobody_reads_is_found(code):
    assert unread(Whole, [code]) == {"Named.file", "Other.file"}


PROSE = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_KEY = re.compile(r"`\[([a-z_]+(?:\.[a-z_]+)*)\] ([a-z_]+)")
_BLOCK = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
_OPEN = {"SourceTable", "CustomRule"}  # their further keys are a plug-in's own
_NAMES = {"feedback.scores", "gates.intents.groups"}  # keys are scores of others, or intents
_MANY = {"TokenTable"}  # tables of the reader's naming, with keys of ours


def key_trouble(table: str, key: str) -> str:
    """What is wrong with `[table] key`; "" when there is such a key."""
    types = types_of(Config)
    here = "Config"
    if table in _NAMES:
        return ""
    parts = iter(table.split("."))
    for part in parts:
        if here in _OPEN:
            return ""
        if part not in types[here] and here == "GatesTable":
            return ""  # [gates.OWN]
        if part not in types[here]:
            return f"there is no table [{table}]"
        here = types[here][part] or here
        if here in _OPEN:
            return ""
        if here in _MANY:
            next(parts, None)
    return "" if key in types[here] else f"[{table}] has no key {key}"


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_key_that_prose_names_exists(path):
    text = path.read_text(encoding="utf-8")
    named = _KEY.findall(text)
    for block in _BLOCK.findall(text):
        named += list(_written(tomllib.loads(block)))
    assert [trouble for table, key in named if (trouble := key_trouble(table, key))] == []


def _written(tables: Mapping[str, object], where: str = "") -> Iterator[tuple[str, str]]:
    """(table, key) of every key in TOML; what is in no table belongs to another file."""
    for name, value in tables.items():
        if isinstance(value, dict):
            yield from _written(value, f"{where}.{name}" if where else name)
        elif where and where.partition(".")[0] not in ("project", "intent"):
            yield where, name


def test_a_made_up_key_is_found():
    assert key_trouble("watch", "mood") == "[watch] has no key mood"
    assert key_trouble("wach", "mode") == "there is no table [wach]"
    assert key_trouble("gates.overall", "alpha") == ""
    assert key_trouble("sources.crm", "folder") == ""
    assert key_trouble("api.tokens.shop", "role") == ""
    assert key_trouble("api.tokens.shop", "rule") == "[api.tokens.shop] has no key rule"
    assert key_trouble("api.tokens", "NAME") == "[api.tokens] has no key NAME"
