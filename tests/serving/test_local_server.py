"""`[serving] kind = "local"`: what is said to `flywheel serve`, and what is heard."""

import pytest

from flywheel.errors import NotLoaded, ServingAway
from flywheel.records import ServedAnswer
from flywheel.serving import LocalServer
from flywheel.serving.endpoint import at_url
from tests.fakes.inference_server import InferenceServer


@pytest.fixture
def state_dir(tmp_path):
    for name in ("a-1", "a-2", "a-3"):
        folder = tmp_path / "adapters" / name
        folder.mkdir(parents=True)
        (folder / "flywheel.json").write_text(f'{{"wake": "alarm-{name}"}}')
    return tmp_path


@pytest.fixture
def server(state_dir):
    with InferenceServer(state_dir) as running:
        yield running


@pytest.fixture
def local(state_dir):
    return LocalServer(state_dir / "adapters", state_dir / "serve.sock")


def test_an_adapter_is_asked_beside_the_one_that_answers_and_then_takes_over(local, server):
    local.promote("a-1")
    before = local.state()
    local.prepare("a-2")
    assert (server.adapter, server.loaded, local.serving()) == ("a-1", ["a-1", "a-2"], "a-1")
    assert local.ask("a-2", ["wake up", "sleep"]) == [
        ServedAnswer(adapter="a-2", intent="alarm-a-2", arguments={}, confidence=0.8),
        ServedAnswer(adapter="a-2", intent="none", arguments={}, confidence=0.8),
    ]
    assert local.state() == before.__class__(
        adapter="a-1", loaded=("a-1", "a-2"), engine="words", instance=before.instance
    )
    local.promote("a-2")
    local.promote("a-2")
    assert (server.switches, local.serving()) == (["a-1", "a-2"], "a-2")
    assert local.state().instance != before.instance  # what passed before is asked again


def test_texts_are_asked_in_order_however_many(local, server):
    local.promote("a-1")
    texts = [f"wake {n}" for n in range(37)]
    assert len(local.ask("a-1", texts)) == 37
    assert [text for _, text in server.asked] == texts


def test_memory_is_made_for_a_third_adapter(local, server):
    for name in ("a-1", "a-2"):
        local.promote(name)
    local.prepare("a-3")
    assert server.loaded == ["a-2", "a-3"]
    local.drop("a-3")
    local.drop("a-2")  # answers traffic
    assert server.loaded == ["a-2"]


def test_without_a_champion_the_server_answers_with_nothing(local, server):
    local.promote("a-1")
    local.retire()
    local.retire()
    assert (server.adapter, local.serving(), server.switches) == (None, None, ["a-1", None])


def test_a_refusal_is_the_servers_own_word(local, server):
    server.refuses = "a-2 is half there"
    with pytest.raises(NotLoaded, match="a-2 is half there"):
        local.prepare("a-2")


def test_a_server_that_is_not_there_is_away(local, state_dir):
    with pytest.raises(ServingAway, match="no server answers"):
        local.state()
    local.drop("a-1")
    server = InferenceServer(state_dir).start()
    local.promote("a-1")
    server.stop()
    with pytest.raises(ServingAway, match="no server answers"):
        local.promote("a-2")
    assert local.serving() == "a-1"


def test_a_server_that_lost_an_adapter_is_away(local, server):
    with pytest.raises(ServingAway, match="a-2 is not loaded"):
        local.ask("a-2", ["wake up"])


def test_an_answer_that_is_none_is_none(local, server):
    local.promote("a-1")
    server.answer = lambda folder, text: None if text == "odd" else {"intent": 7}
    assert local.ask("a-1", ["odd", "even"]) == [None, None]


def test_an_address_is_one_of_http():
    with pytest.raises(ValueError, match="ftp://x is no http or https address"):
        at_url("ftp://x", "", 1.0)
