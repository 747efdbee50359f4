import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy
import pyarrow
import pyarrow.parquet
from safetensors.numpy import save_file
from wire_events import ndjson, prediction, verdict

from flywheel import content
from flywheel.records import Adapter, Brief, Intent
from flywheel.store import adapters, events, health, turns
from flywheel.store.columns import scalar

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def filled(client, runtime):
    """Two people; one text is said by both, one by the first alone."""
    spoken = [
        prediction(1, text="nur ich sage das", slices={"session": "s-1"}),
        prediction(2, text="guten Morgen", slices={"session": "s-1"}),
        prediction(3, text="guten Morgen", slices={"session": "s-2"}),
    ]
    client.post("/v1/predictions", content=ndjson(*spoken))
    client.post("/v1/feedback", content=ndjson(verdict(1), verdict(3)))
    client.post("/v1/predictions", content=ndjson(b'{"text": "nur ich sage das", "id": 3}'))
    label = {"text": "nur ich sage das", "intent": "play_music", "split": "golden"}
    client.post("/v1/samples", json=label | {"provenance": {"prediction": "p-1"}})
    folder = runtime.config.state_dir / "datasets"
    folder.mkdir()
    rows = pyarrow.table({"id": ["x", "y"], "text": ["nur ich sage das", "guten Morgen"]})
    pyarrow.parquet.write_table(rows, folder / "ds-1.parquet")
    with runtime.store.write() as con:
        adapters.add(
            con,
            Adapter(
                id="a-1",
                base="b",
                recipe="r",
                dataset="ds-1",
                parent=None,
                created_at=NOW,
                state="retired",
            ),
        )
        turn = turns.open_turn(con, "hand", NOW, "diagnose")
        brief = Brief(
            id="b-1",
            intent=Intent(name="greet"),
            neighbour=None,
            failed_texts=("nur ich sage das", "guten Morgen"),
            examples=(),
            contrast=(),
            ask=1,
            why="it fails",
        )
        turns.finish_step(
            con,
            turn.id,
            "diagnose",
            NOW,
            state="done",
            detail="",
            next_state="done",
            outputs=lambda record: replace(record, briefs=(brief,)),
        )


def test_a_session_is_erased_everywhere_and_its_adapters_are_named(client, runtime):
    filled(client, runtime)
    runtime.store.checkpoint()
    assert b"nur ich sage das" in runtime.store.path.read_bytes()
    said = client.post("/v1/erase", json={"session": "s-1"}).json()
    assert said["left"] == {}
    assert b"nur ich sage das" not in runtime.store.path.read_bytes()
    assert said["adapters"] == ["a-1"]
    assert said["files"] == ["datasets/ds-1.parquet"]
    assert said["removed"]["predictions"] == 2
    assert said["removed"]["rejected"] == 1
    kept = pyarrow.parquet.read_table(runtime.config.state_dir / "datasets" / "ds-1.parquet")
    assert kept["text"].to_pylist() == ["guten Morgen"]  # somebody else's too
    with runtime.store.read() as con:
        assert events.counts(con).predictions == 1
        assert scalar(con, "SELECT sum(predictions) FROM daily") == 1
        (brief,) = json.loads(scalar(con, "SELECT cursor FROM turns"))["briefs"]
        assert brief["failed_texts"] == ["[erased]", "guten Morgen"]
        assert scalar(con, "SELECT count(*) FROM samples") == 0
        since = datetime(2026, 11, 1, tzinfo=UTC)
        whole = health.halves(con, since, since, NOW)[0]
        assert sum(whole.volume.values()) == 1


def test_what_a_restore_set_aside_is_named_and_its_jobs_are_searched(client, runtime):
    filled(client, runtime)
    kept = runtime.store.path.with_name("flywheel.duckdb.before-20261122T120000")
    kept.write_bytes(b"as it was")
    rows = runtime.config.state_dir / "jobs.before-20261122T120000" / "t-1-train" / "rows.parquet"
    rows.parent.mkdir(parents=True)
    texts = pyarrow.table({"id": ["x", "y"], "text": ["nur ich sage das", "guten Morgen"]})
    pyarrow.parquet.write_table(texts, rows)
    said = client.post("/v1/erase", json={"session": "s-1"}).json()
    assert said["left"] == {kept.name: 1}
    assert str(rows.relative_to(runtime.config.state_dir)) in said["files"]
    assert pyarrow.parquet.read_table(rows)["text"].to_pylist() == ["guten Morgen"]
    kept.unlink()
    assert client.post("/v1/erase", json={"session": "s-1"}).json()["left"] == {}


def test_a_raters_verdicts_are_erased_and_the_predictions_stay(client, runtime):
    filled(client, runtime)
    said = client.post("/v1/erase", json={"rater": "u-77"}).json()
    assert (said["left"], said["removed"]["feedback"]) == ({}, 2)
    with runtime.store.read() as con:
        assert (events.counts(con).predictions, events.counts(con).feedback) == (3, 0)


def test_a_file_that_a_reader_holds_is_told_as_left(client, runtime, monkeypatch):
    filled(client, runtime)
    with monkeypatch.context() as patch, runtime.store.read():
        patch.setattr("flywheel.store.database.PATIENCE_S", 0)
        said = client.post("/v1/erase", json={"session": "s-1"}).json()
    assert list(said["left"]) == ["the file of the database"]
    assert client.post("/v1/erase", json={"session": "s-1"}).json()["left"] == {}


def test_answers_that_are_not_delivered_yet_are_told_as_left(client, runtime):
    filled(client, runtime)
    log = runtime.config.state_dir / "serve" / "answers"
    log.mkdir(parents=True)
    (log / "000000000001.predictions.ndjson").write_bytes(ndjson(prediction(9, session="s-1")))
    (log / "000000000002.predictions.ndjson").write_bytes(ndjson(prediction(8, session="s-2")))
    said = client.post("/v1/erase", json={"session": "s-1"}).json()
    assert list(said["left"]) == ["serve/answers/000000000001.predictions.ndjson"]


def test_an_erasure_that_learns_anew_opens_a_turn_or_says_why_not(client, runtime):
    filled(client, runtime)
    said = client.post("/v1/erase", json={"session": "s-1", "and_retrain": True}).json()
    assert said["left"] == {}
    assert said["turn"] is None
    assert said["not_retrained"].startswith("no turn can be opened: ")
    again = client.post("/v1/erase", json={"session": "s-1", "and_retrain": True}).json()
    assert again["not_retrained"] == "nothing was stored"


def test_who_once_said_a_word_of_ours_takes_no_strangers_answer_and_no_job_with_it(client, runtime):
    said = prediction(1, text="none", slices={"session": "s-1"})
    client.post("/v1/predictions", content=ndjson(said))
    job = runtime.config.state_dir / "jobs" / "t-1-train" / "job.json"
    job.parent.mkdir(parents=True)
    job.write_text(json.dumps({"spec": {"intents": [{"name": "none"}]}}), encoding="utf-8")
    log = runtime.config.state_dir / "serve" / "answers"
    log.mkdir(parents=True)
    strangers = prediction(9, intent="none", session="s-2")
    (log / "000000000001.predictions.ndjson").write_bytes(ndjson(strangers))
    told = client.post("/v1/erase", json={"session": "s-1"}).json()
    assert (told["left"], told["files"], job.exists()) == ({}, [], True)


def test_the_bases_states_of_a_text_leave_the_cache_with_it(client, runtime):
    filled(client, runtime)
    cache = runtime.config.state_dir / "cache" / "of-a-base"
    cache.mkdir(parents=True)
    for name, text in (("mine", "nur ich sage das"), ("others", "guten Morgen")):
        keys = {"keys": content.states_key(text)}
        save_file({"x": numpy.zeros(1)}, cache / f"{name}.safetensors", keys)
    (cache / "damaged.safetensors").write_bytes(b"no header")
    said = client.post("/v1/erase", json={"session": "s-1"}).json()
    assert said["left"] == {}
    assert "cache/of-a-base/mine.safetensors" in said["files"]
    assert sorted(path.stem for path in cache.iterdir()) == ["damaged", "others"]


def test_an_adapter_that_learned_a_label_which_another_rater_gave_too_is_named(client, runtime):
    filled(client, runtime)
    spoken = [prediction(n, text="was beide sagen") for n in (7, 8)]
    client.post("/v1/predictions", content=ndjson(*spoken))
    client.post("/v1/feedback", content=ndjson(verdict(7, rater="u-1"), verdict(8, rater="u-2")))
    learned = content.sample_id("was beide sagen", "set_alarm", None, "feedback", "train")
    rows = pyarrow.table({"id": [learned], "text": ["was beide sagen"]})
    path = runtime.config.state_dir / "datasets" / "ds-1.parquet"
    pyarrow.parquet.write_table(rows, path)
    said = client.post("/v1/erase", json={"rater": "u-2"}).json()
    assert (said["left"], said["adapters"]) == ({}, ["a-1"])
    assert pyarrow.parquet.read_table(path)["id"].to_pylist() == [learned]  # it is u-1's too


def test_while_a_turn_runs_nothing_is_erased(client, runtime):
    with runtime.store.write() as con:
        turns.open_turn(con, "hand", NOW, "diagnose")
    assert client.post("/v1/erase", json={"rater": "u-77"}).status_code == 409


def test_one_person_at_a_time(client):
    assert client.post("/v1/erase", json={}).status_code == 400
    assert client.post("/v1/erase", json={"rater": "a", "session": "b"}).status_code == 400
