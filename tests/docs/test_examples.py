"""What a page shows of files and events is read by the code that reads the real ones."""

import dataclasses
import tomllib
from datetime import UTC, datetime

import pytest
from pages import PAGES, ROOT, blocks

from flywheel.config import Config, load
from flywheel.formats import read_body

EVENTS = ROOT / "docs" / "reference" / "events.md"
TABLES = {field.name for field in dataclasses.fields(Config)}


def of_language(language, pages=PAGES):
    found = [block for page in pages for block in blocks(page) if block.language == language]
    return [pytest.param(block, id=block.place) for block in found]


@pytest.mark.parametrize("block", of_language("json", [EVENTS]))
def test_each_example_of_an_event_is_read(block):
    said = read_body(None, block.text.encode(), received=datetime(2026, 11, 29, tzinfo=UTC))
    assert said.rejected == ()
    assert said.predictions or said.feedback or said.samples


@pytest.mark.parametrize("block", of_language("toml"))
def test_each_piece_of_config_toml_is_one_that_the_daemon_takes(block, tmp_path):
    told = tomllib.loads(block.text)
    if not set(told) <= TABLES:
        assert {"project", "intent"} & set(told)  # another file's
        return
    (tmp_path / "config.toml").write_text(block.text, encoding="utf-8")
    (tmp_path / "intents.toml").write_text('[[intent]]\nname = "a"\n', encoding="utf-8")
    load(tmp_path / "config.toml")
