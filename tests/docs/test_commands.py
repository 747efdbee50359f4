"""Every command that a page names exists, with the options that the page gives it."""

import re
import shlex

import pytest
import typer.main
from pages import PAGES, ROOT, blocks, code_spans

from flywheel.cli.app import app

MADE = {"commands.md", "log.md", "CHANGELOG.md"}  # made from the code, or history as `docs/adr` is
END = re.compile(r"\s(?:&&|\||>|&$|;).*")
REFUSED = typer.BadParameter.__base__  # whatever a command line can be refused for
ROOT_COMMAND = typer.main.get_command(app)


def commands(page):
    """Commands of flywheel in a page's blocks and in its running text, as they are written."""
    lines = [
        line.strip()
        for block in blocks(page)
        if block.language == "sh"
        for line in block.text.replace("\\\n", " ").splitlines()
    ]
    found = [*lines, *code_spans(page)]
    return sorted({line for line in found if re.match(r"(sudo )?flywheel [a-z-]", line)})


def complaint(line):
    """What the command line would say against it; None when it would run."""
    told = END.sub("", line.replace("…", "x")).removeprefix("sudo ")
    words = shlex.split(told, comments=True)[1:]
    command, context = ROOT_COMMAND, None
    try:
        while True:
            context = command.make_context(command.name or "", list(words), parent=context)
            if not hasattr(command, "resolve_command"):
                return None
            rest = [*context._protected_args, *context.args]
            if not rest:
                return None
            _, command, words = command.resolve_command(context, rest)
    except typer.Exit:  # after --help or --version
        return None
    except REFUSED as error:
        if type(error).__name__ == "MissingParameter":
            return None
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=str(page.relative_to(ROOT)))
        for page in PAGES
        if page.name not in MADE and page.parent.name != "adr" and commands(page)
    ],
)
def test_every_command_of_a_page_exists(page):
    assert {line: said for line in commands(page) if (said := complaint(line))} == {}


def test_a_command_or_an_option_that_does_not_exist_is_found():
    assert complaint("flywheel turn begin")
    assert complaint("flywheel turn start --hurry")
    assert complaint("flywheel turn start --wait   # and wait") is None
