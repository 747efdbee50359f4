"""Writes docs/reference/ from the code: every command with its help, every key of config.toml.

python docs/generate.py           writes
python docs/generate.py --check   exits 1 when a page is not what the code says
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
CONFIG = ROOT / "flywheel" / "config"
_TITLE = re.compile(r"(\[[^\]]+\]): (.*)", re.DOTALL)
_KEY = re.compile(r"    (?P<name>\w+): (?P<type>.+?)(?: = (?P<default>.+?))?(?:  # (?P<note>.+))?")


def commands() -> str:
    """Every command's --help."""
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1", "_TYPER_FORCE_DISABLE_TERMINAL": "1"}
    import typer.main

    from flywheel.cli.app import app

    root = typer.main.get_command(app)
    parts = ["# Commands", "", "What `--help` prints. Made by `make docs`; do not edit.", ""]
    for path, text in _helps(root, None, "flywheel"):
        parts += [f"## {path}", "", "```text", text, "```", ""]
    return "\n".join(parts)


def _helps(command, parent, name) -> Iterator[tuple[str, str]]:
    context = command.make_context(
        name, [], parent, resilient_parsing=True, terminal_width=100, max_content_width=100
    )
    yield (
        context.command_path,
        "\n".join(line.rstrip() for line in command.get_help(context).splitlines()),
    )
    for sub in getattr(command, "commands", {}).values():
        yield from _helps(sub, context, sub.name)


def configuration() -> str:
    """Every table and key of config.toml, from the source that defines them."""
    tables, rules = (CONFIG / name for name in ("tables.py", "rules.py"))
    source = "\n".join(path.read_text(encoding="utf-8") for path in (tables, rules))
    lines = source.splitlines()
    parts = [
        "# config.toml",
        "",
        "Every table and key with its default. Made by `make docs`; do not edit. Unknown keys are",
        "refused at start with the nearest known name.",
        "",
    ]
    for node in ast.parse(source).body:
        title = _TITLE.fullmatch(ast.get_docstring(node) or "") if _is_class(node) else None
        if title is None:
            continue
        table, said = title.groups()
        parts += [f"## `{table}`", "", said[0].upper() + said[1:].strip(), ""]
        rows = [_row(lines, key) for key in node.body if _is_key(key)]
        if any("Rule" in row for row in rows):  # [gates.NAME] lists tables, not keys
            parts.pop()
            parts += [""]
            continue
        parts += ["| key | type | default | |", "| --- | --- | --- | --- |", *rows, ""]
    return "\n".join(parts)


def _is_class(node: ast.stmt) -> TypeGuard[ast.ClassDef]:
    return isinstance(node, ast.ClassDef)


def _is_key(node: ast.stmt) -> TypeGuard[ast.AnnAssign]:
    """A key with a value; a table within a table has a title of its own."""
    return isinstance(node, ast.AnnAssign) and not ast.unparse(node.annotation).endswith("Table")


def _row(lines: list[str], key: ast.AnnAssign) -> str:
    found = _KEY.fullmatch(lines[key.lineno - 1])
    note = (found["note"] if found else "") or ""
    kind = ast.unparse(key.annotation)
    if kind.startswith("Literal"):
        kind = kind.removeprefix("Literal[").removesuffix("]").replace("'", "`")
    default = "required" if key.value is None else f"`{_default(key.value)}`"
    return f"| `{ast.unparse(key.target)}` | {kind} | {default} | {note} |"


def _default(value: ast.expr) -> str:
    written = ast.unparse(value).replace("'", '"')
    return {"field(default_factory=dict)": "{}", "True": "true", "False": "false"}.get(
        written, written
    )


PAGES = {"commands.md": commands, "config.md": configuration}


def say(line: str) -> None:
    """One line to the terminal."""
    sys.stdout.write(line + "\n")


def main() -> int:
    """Write or check every page."""
    check = "--check" in sys.argv[1:]
    stale = 0
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, made in PAGES.items():
        path, text = REFERENCE / name, made()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if check:
            say(f"{path.relative_to(ROOT)} is not what the code says; run `make docs`")
        else:
            path.write_text(text, encoding="utf-8")
            say(f"wrote {path.relative_to(ROOT)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
