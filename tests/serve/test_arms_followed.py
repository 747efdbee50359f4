"""`flywheel serve` follows link and plan together: both arms begin and end in one step."""

import asyncio

import pytest
from word_service import Lines, WordRouter, adapter_folder

from flywheel.config import Config, FlywheelTable
from flywheel.inference.process import InferenceProcess
from flywheel.inference.recording import Recorder
from flywheel.promotion import ArmPlan
from flywheel.serving.arms_file import planned, publish
from flywheel.serving.link import ChampionLink

PLAN = ArmPlan(champion="a-2", earlier="a-1", share=0.3, salt="d-7")


@pytest.fixture
def state(tmp_path):
    for name in ("a-1", "a-2"):
        adapter_folder(tmp_path / "state", name)
    return tmp_path / "state"


def test_link_and_plan_are_followed_through_a_promotion_and_its_rollback(state, tmp_path):
    config = Config(path=tmp_path / "config.toml", flywheel=FlywheelTable(state_dir="state"))
    link = ChampionLink(state / "adapters")

    async def story():
        process = InferenceProcess(
            config, Recorder(Lines()), lambda folder, beside: WordRouter(folder.name)
        )
        adapters = process.service.adapters

        async def look():
            await process.look_once()
            return adapters.current.id, adapters.arms, sorted(adapters.ids())

        link.promote("a-1")
        assert await look() == ("a-1", None, ["a-1"])
        publish(state, PLAN)  # before the champion takes over
        assert await look() == ("a-1", None, ["a-1"])
        link.promote("a-2")
        assert await look() == ("a-2", PLAN, ["a-1", "a-2"])
        link.promote("a-1")  # a rollback: the arms end as it takes over
        assert await look() == ("a-1", None, ["a-1"])
        publish(state, None)
        assert await look() == ("a-1", None, ["a-1"])

    asyncio.run(story())


def test_when_a_watch_ends_the_earlier_adapter_is_let_go(state, tmp_path):
    config = Config(path=tmp_path / "config.toml", flywheel=FlywheelTable(state_dir="state"))
    ChampionLink(state / "adapters").promote("a-2")
    publish(state, PLAN)

    async def story():
        process = InferenceProcess(
            config, Recorder(Lines()), lambda folder, beside: WordRouter(folder.name)
        )
        await process.look_once()
        assert process.service.adapters.arms == PLAN
        publish(state, None)
        await process.look_once()
        assert process.service.adapters.ids() == ["a-2"]

    asyncio.run(story())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"champion": "a-2"}', '{"share": 2}'])
def test_a_plan_that_cannot_be_read_is_none(tmp_path, text):
    (tmp_path / "arms.json").write_text(text)
    assert planned(tmp_path) is None
