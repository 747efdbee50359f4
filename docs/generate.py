"""Writes docs/reference/ from the code, and into config.toml the keys that it lacks.

python docs/generate.py           writes
python docs/generate.py --check   exits 1 when a file is not what the code says
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
CONFIG = ROOT / "flywheel" / "config"
EXAMPLE = ROOT / "config.toml"
TEMPLATE = ROOT / "flywheel" / "cli" / "templates" / "config.toml"  # what `flywheel init` writes
FIXTURES = ROOT / "tests" / "formats" / "fixtures"
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


def _tables_source() -> str:
    """The source of every table, in the order of config.toml."""
    tables, serving = (
        (CONFIG / name).read_text(encoding="utf-8") for name in ("tables.py", "serving_tables.py")
    )
    last = "@dataclass(frozen=True, slots=True, kw_only=True)\nclass WatchTable"
    before, watch, after = tables.partition(last)
    return (
        before + serving.partition('"""\n\nfrom')[2].partition("\n\n\n")[2] + "\n\n" + watch + after
    )


def configuration() -> str:
    """Every table and key of config.toml, from the source that defines them."""
    source = _tables_source()
    lines = source.splitlines()
    parts = [
        "# config.toml",
        "",
        "Every table and key with its default. Made by `make docs`; do not edit. Unknown keys are",
        "refused at start with the nearest known name.",
        "",
        "A variable of the environment goes before the file:",
        "`FLYWHEEL_API__TCP=127.0.0.1:8765`, `FLYWHEEL_GATES__OVERALL__ALPHA=0.05`. Its name is",
        "`FLYWHEEL_`, the table and the key, joined by two underscores, in capitals or not.",
        "Texts are written as they are; numbers, `true` and `false`, lists and tables as TOML",
        "or JSON. Tables under `[sources]` and gates of your own have to be in the file; then",
        "their options can be set too. A reload reads the environment that the process was",
        "started with. Commands that look for the daemon read `FLYWHEEL_FLYWHEEL__STATE_DIR`",
        "and `…__LOG_DIR` in their own. `flywheel status` names the variables that the daemon was",
        "started with, `flywheel doctor` those of your shell.",
        "",
    ]
    tables = filter(_is_class, ast.parse(source).body)
    for node in sorted(tables, key=lambda node: "[gates." in (ast.get_docstring(node) or "")):
        title = _TITLE.fullmatch(ast.get_docstring(node) or "")
        if title is None:
            continue
        table, said = title.groups()
        parts += [f"## `{table}`", "", said[0].upper() + said[1:].strip(), ""]
        rows = [_row(lines, key) for key in node.body if _is_key(key)]
        parts += ["| key | type | default | |", "| --- | --- | --- | --- |", *rows, ""]
    return "\n".join(parts)


def _is_class(node: ast.stmt) -> TypeGuard[ast.ClassDef]:
    return isinstance(node, ast.ClassDef)


def _is_key(node: ast.stmt) -> TypeGuard[ast.AnnAssign]:
    """A key with a value; a table within a table has a title of its own."""
    if not isinstance(node, ast.AnnAssign):
        return False
    kind = ast.unparse(node.annotation)
    return not kind.endswith(("Table", "Rule", "CustomRule]"))


def _row(lines: list[str], key: ast.AnnAssign) -> str:
    found = _KEY.fullmatch(lines[key.lineno - 1])
    note = (found["note"] if found else "") or ""
    kind = ast.unparse(key.annotation)
    kind = re.sub(r"Literal\[(.*?)\]", lambda found: found[1].replace("'", "`"), kind)
    kind = kind.replace(" | ", " or ")
    default = "required" if key.value is None else f"`{_default(key.value)}`"
    return f"| `{ast.unparse(key.target)}` | {kind} | {default} | {note} |"


def _default(value: ast.expr) -> str:
    written = ast.unparse(value).replace("'", '"')
    return {"field(default_factory=dict)": "{}", "True": "true", "False": "false"}.get(
        written, written
    )


_TABLE_LINE = re.compile(r"\[([a-z_.]+)\]")
_KEY_LINE = re.compile(r"(?:# )?(\w+) = ")
_COMMENT_COLUMN = 31  # where comments begin in config.toml


def example() -> str:
    """config.toml with a commented line for each key that it does not name yet."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    source = _tables_source()
    for node in filter(_is_class, ast.parse(source).body):
        title = re.fullmatch(r"\[([a-z_.]+)\]: (.*)", ast.get_docstring(node) or "", re.DOTALL)
        if title:
            keys = [_example_line(source, key) for key in node.body if _is_key(key)]
            _complete(lines, title[1], title[2].splitlines()[0].rstrip("."), keys)
    return "\n".join(lines) + "\n"


def _complete(lines: list[str], table: str, said: str, keys: list[str]) -> None:
    """Add what a table of config.toml lacks: itself, or some of its keys."""
    places = {found[1]: at for at, line in enumerate(lines) if (found := _TABLE_LINE.match(line))}
    if table not in places:
        kin = [name for name in places if name.partition(".")[0] == table.partition(".")[0]]
        end = _end(lines, places[max(kin, key=places.__getitem__)]) if kin else len(lines)
        lines[end:end] = ["", _commented(f"[{table}]", said), *keys]
        return
    end = _end(lines, places[table])
    there = {key[1] for line in lines[places[table] : end] if (key := _KEY_LINE.match(line))}
    lines[end:end] = [line for line in keys if _KEY_LINE.match(line)[1] not in there]


def _end(lines: list[str], table: int) -> int:
    """The line after the last line of a table."""
    return next((at for at in range(table, len(lines)) if not lines[at]), len(lines))


def _example_line(source: str, key: ast.AnnAssign) -> str:
    found = _KEY.fullmatch(source.splitlines()[key.lineno - 1])
    default = _default(key.value) if key.value else '""'
    if isinstance(key.value, ast.Tuple):
        default = "[" + default.strip("()").removesuffix(",") + "]"
    return _commented(f"# {ast.unparse(key.target)} = {default}", (found and found["note"]) or "")


def _commented(line: str, note: str) -> str:
    return f"{line.ljust(_COMMENT_COLUMN)}# {note}" if note else line


_HTTP = """\
# HTTP

The routes of the daemon, from its OpenAPI document, which it serves at `/openapi.json`. Made by
`make docs`; do not edit.

They are on the Unix socket `flywheel.sock` in the state folder, and over TCP where `[api] tcp` asks
for it, with a token ([how](../how-to/open-the-page.md)). An error is an object with `error`, what
is wrong, and `hint`, what to do. A body in *italics* may also be NDJSON, one object per line.
[What events look like](events.md). [What a caller with a role may](../how-to/say-who-may.md).

| route | | role | body | answer |
| --- | --- | --- | --- | --- |"""


_SERVE = """\
# HTTP of `flywheel serve`

The routes of the inference process, from its OpenAPI document, which it serves at `/openapi.json`.
Made by `make docs`; do not edit.

They are on the Unix socket `serve.sock` in the state folder, and over TCP where `[serving] tcp`
asks for it, with a token of role `ask` ([how](../how-to/serve-the-champion.md)). `POST /v1/predict`
with the header `x-flywheel-adapter` asks a loaded adapter by its id, takes the role `prove` over
TCP, and is not logged; without that header it takes `ask`. `/v1/serving` and what is below it are
on the Unix socket alone. On `/v1/chat/completions`, `/v1/responses` and
`/v1/models` an error is in OpenAI's form, an object `error` with `message`, `type`, `param` and
`code`; elsewhere it is an object with `error`, what is wrong, and `hint`, what to do. A body in
*italics* may also be NDJSON, one object per line.

`usage` on OpenAI's forms: tokens of the prompt are those that the adapter read of the judged
message, by its own tokenizer, with its marks before and after and cut to `max_length`; the earlier
conversation and `tools` are not read. Of the answer, which is not written token by token, it is one
for each four bytes of the function's name and arguments, or of the words. Behind
`[serving.upstream]` it is what that model says.

| route | | role | body | answer |
| --- | --- | --- | --- | --- |"""


def http() -> str:
    """Every route of the daemon with its bodies and answers, from its OpenAPI document."""
    from flywheel.api.routes import ROUTES
    from flywheel.web.openapi import document

    return _routes(_HTTP, document(ROUTES))


def serve() -> str:
    """The same of the inference process."""
    from flywheel.inference.interface import SERVE_ROUTES
    from flywheel.web.openapi import document

    return _routes(_SERVE, document(SERVE_ROUTES, "flywheel serve"))


def _routes(head: str, described: Mapping[str, Any]) -> str:
    parts = [head]
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            said = _escaped(operation["summary"])
            answer = _answer(operation)
            role = operation["x-role"]
            parts.append(
                f"| `{method.upper()} {path}` | {said} | {role} | {_body(operation)} | {answer} |"
            )
    for name, schema in described["components"]["schemas"].items():
        if not schema["properties"]:
            continue
        parts += ["", f"## {name}", "", schema["description"], ""]
        parts += ["| field | type | default |", "| --- | --- | --- |"]
        for field, of in schema["properties"].items():
            default = (
                "required"
                if field in schema["required"]
                else f"`{json.dumps(of['default'])}`"
                if "default" in of
                else "may be missing"
            )
            parts.append(f"| `{field}` | {_type(of)} | {default} |")
    return "\n".join(parts) + "\n"


def _body(operation: Mapping[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    if "application/octet-stream" in content:
        return "a file"
    schema = content.get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    if name in ("", "Nothing", "ToolItem"):
        return "*items of the tool*" if name == "ToolItem" else ""
    link = _type(schema)
    return f"*{link}*" if "application/x-ndjson" in content else link


def _answer(operation: Mapping[str, Any]) -> str:
    first = next(iter(operation["responses"].values()))
    content = first["content"].get("application/json", {})
    return _type(content["schema"]) if "schema" in content else ""


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array" and "items" in schema:
        return f"array of {_type(schema['items'])}"
    return str(schema.get("type", "anything"))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


_EVENTS = """\
# Events

Every form that `flywheel ingest`, `POST /v1/predictions`, `/v1/feedback`, `/v1/samples` and sources
take; its shape says which one it is. Each example is one that the tests read. Made by `make docs`;
do not edit.

`intent` must be there: `null` or `"none"` says that no call was made. `id` is yours and makes every
write idempotent. Feedback may arrive before its prediction.

An answer that holds several calls has `calls` in the place of `intent` and `arguments`: it counts
under each intent, and a verdict judges it as a whole. `aliases` are further ids of the answer, such
as of the response, the span or the request; feedback finds it by any of them. `session` and `rater`
say whose it is: `flywheel erase` goes by them, and nothing is summed by them. `tools` is your
fingerprint of the list of tools that was offered. Every field with its type is in
[http.md](http.md#predictionevent)."""


def events() -> str:
    """One example of each form and kind, the shortest of the tests' own, and what is read."""
    from flywheel.formats import FORMATS

    parts = [_EVENTS]
    for name, reader in FORMATS.items():
        said = (sys.modules[reader.__name__].__doc__ or "").partition("\n\n")[0].strip()
        parts += ["", f"## {name}", "", said]
        rows = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
        for kind in ("predictions", "feedback", "samples"):
            fitting = [row for row in rows if row["says"].get(kind)]
            if fitting:
                shown = [min(fitting, key=_length)]
                if name == "native":  # all of its fields
                    shown = [fitting[0], *(row for row in fitting[1:] if "calls" in row["event"])]
                for row in shown:
                    parts += ["", f"Read as {_counted(row['says'])}:", "", "```json"]
                    parts += [json.dumps(row["event"], indent=1, ensure_ascii=False), "```"]
    return "\n".join(parts) + "\n"


def _length(row: Mapping[str, Any]) -> int:
    return len(json.dumps(row["event"]))


def _counted(says: Mapping[str, Any]) -> str:
    """`a prediction of set_alarm`, and more of them."""
    one = {"predictions": "a prediction", "feedback": "feedback", "samples": "a sample"}
    found = [
        f"{name} ({_said(record)})" for kind, name in one.items() for record in says.get(kind, ())
    ]
    return " and ".join(found)


def _said(record: Mapping[str, Any]) -> str:
    told = [str(record[key]) for key in ("verdict", "split", "intent") if record.get(key)]
    return "`" + ", ".join(told) + "`"


FILES = {
    REFERENCE / "commands.md": commands,
    REFERENCE / "config.md": configuration,
    REFERENCE / "http.md": http,
    REFERENCE / "serve.md": serve,
    REFERENCE / "events.md": events,
    EXAMPLE: example,
    TEMPLATE: example,
}


def say(line: str) -> None:
    """One line to the terminal."""
    sys.stdout.write(line + "\n")


def main() -> int:
    """Write or check every file."""
    check = "--check" in sys.argv[1:]
    stale = 0
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for path, make in FILES.items():
        text = make()
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
