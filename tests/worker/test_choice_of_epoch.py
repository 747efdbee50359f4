"""Which epoch's weights are taken, when training ends early, and which tokens an epoch sees."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_training import TEXTS

from flywheel.errors import FlywheelError
from flywheel.worker import learning_curve, logistic
from flywheel.worker.models import base
from flywheel.worker.models.encoder import lora, tuning
from flywheel.worker.models.encoder.frozen_states import FrozenStates, run_upper
from flywheel.worker.models.encoder.slots import Tags
from flywheel.worker.models.encoder.tuning import TokenDropout
from flywheel.worker.recipes import Recipe


def answers(*hits, of=100):
    """An epoch each that is right on the first so many rows."""
    return [torch.arange(of) < n for n in hits]


epochs = st.integers(1, 6).flatmap(
    lambda n: st.lists(
        st.lists(st.booleans(), min_size=12, max_size=12).map(torch.tensor), min_size=n, max_size=n
    )
)


def test_the_last_epoch_is_taken_where_an_earlier_one_is_better_by_chance():
    assert learning_curve.taken(answers(90, 92, 91)) == 2
    assert learning_curve.taken(answers(90, 92, 92)) == 2


def test_an_earlier_epoch_is_taken_where_it_is_clearly_better():
    assert learning_curve.taken(answers(90, 95, 88)) == 1


def test_without_dev_rows_no_epoch_is_chosen_and_none_is_left_out():
    assert learning_curve.taken([]) is None
    assert not learning_curve.stops([])


def test_training_ends_when_two_epochs_in_a_row_are_clearly_worse_than_the_best():
    assert not learning_curve.stops(answers(90, 80))
    assert learning_curve.stops(answers(90, 80, 82))
    assert not learning_curve.stops(answers(90, 80, 89))


@given(epochs)
def test_no_epoch_that_is_taken_has_fewer_rows_right_than_the_last(right):
    taken = learning_curve.taken(right)
    assert right[taken].sum() >= right[-1].sum()
    assert taken == len(right) - 1 or learning_curve.clearly_better(right[taken], right[-1])


@given(epochs)
def test_of_two_epochs_at_most_one_is_clearly_better(right):
    one, other = right[0], right[-1]
    assert not (
        learning_curve.clearly_better(one, other) and learning_curve.clearly_better(other, one)
    )


@given(st.integers(1, 40), st.floats(0.0, 0.99), st.integers(0, 9), st.data())
def test_the_first_token_and_those_of_arguments_are_never_dropped(length, rate, seed, data):
    unit = st.tuples(st.integers(0, length - 1), st.integers(0, 2), st.integers(0, 2))
    drawn = sorted(data.draw(st.lists(unit, max_size=40)))
    units = torch.tensor(drawn, dtype=torch.int64).view(-1, 3)
    tokens, places, tags = units.T
    states = torch.arange(length)
    kept, left = TokenDropout(rate, seed).apply(states, Tags(tokens, places, tags))
    assert {0, *tokens[tags > 0].tolist()} <= set(kept.tolist())
    assert kept.tolist() == sorted(kept.tolist())
    kept_units = torch.stack([kept[left.tokens], left.places, left.tags], 1).tolist()
    assert kept_units == [unit for unit in units.tolist() if unit[0] in kept.tolist()]


def test_about_the_asked_share_of_tokens_is_dropped_and_the_same_for_the_same_seed():
    states = torch.arange(10_000)
    kept, _ = TokenDropout(0.2, 7).apply(states, None)
    assert 7_800 < len(kept) < 8_200
    assert torch.equal(kept, TokenDropout(0.2, 7).apply(states, None)[0])
    assert not torch.equal(kept, TokenDropout(0.2, 8).apply(states, None)[0])


@pytest.fixture(scope="module")
def small():
    """An encoder, and rows to tune it on."""
    loaded = base.load("bundled:all-minilm-l6-v2")
    frozen = FrozenStates(loaded, 5, 32, None)
    texts = [text for lines in TEXTS.values() for text in lines]
    states = frozen.states(texts)
    y = torch.arange(len(texts)) // 5
    rows = tuning.TrainingRows(
        hidden=states.hidden, labels=y, weights=torch.ones(len(y)), tags=None
    )
    return frozen.encoder, rows, logistic.fit(states.embedding, y, len(TEXTS))


RECIPE = Recipe(
    name="r", why="", epochs=4, learning_rate=2e-3, layers=1, batch=8, token_dropout=0.2
)


def trained(small, place: Path, hits, *, recipe=RECIPE, until=None, watched=None, report=None):
    encoder, rows, head = small

    def watch(end):
        if watched is not None:
            watched.append(end)
        return tuning.EpochResult({"epoch": end.epoch}, answers(hits[end.epoch - 1])[0])

    return tuning.tune(
        encoder,
        5,
        recipe,
        rows,
        (head, None),
        seed=0,
        dtype=torch.float32,
        checkpoint=place / "checkpoint.safetensors",
        fingerprint="same",
        watch=watch,
        report=report or (lambda *_: None),
        epochs=until,
    )


def same(one, other):
    return torch.equal(one.head.weight, other.head.weight) and all(
        torch.equal(value, other.factors[name]) for name, value in one.factors.items()
    )


def test_the_weights_taken_are_those_at_the_end_of_the_epoch_taken(small, tmp_path):
    watched = []
    made = trained(small, tmp_path, [80, 95, 85, 94], watched=watched)
    assert (made.epoch, len(made.curve)) == (4, 4)
    assert same(made.tuned, watched[3].tuned)
    (tmp_path / "checkpoint.safetensors").unlink()
    made = trained(small, tmp_path, [80, 95, 90, 85])
    assert (made.epoch, len(made.curve)) == (2, 4)
    assert same(made.tuned, watched[1].tuned)
    assert not same(made.tuned, watched[3].tuned)


def test_a_training_that_became_worse_ends_early(small, tmp_path):
    made = trained(small, tmp_path, [95, 80, 80, 95])
    assert (made.epoch, len(made.curve)) == (1, 3)


def test_a_training_told_to_end_after_an_epoch_is_what_that_epoch_was(small, tmp_path):
    watched = []
    trained(small, tmp_path, [90] * 4, watched=watched)
    (tmp_path / "checkpoint.safetensors").unlink()
    made = trained(small, tmp_path, [90] * 4, until=2)
    assert same(made.tuned, watched[1].tuned)


@pytest.mark.parametrize("killed_in", [1, 2, 3, 4])
def test_killed_in_any_epoch_it_ends_with_the_same_weights(small, tmp_path, killed_in):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    hits = [80, 95, 90, 85]
    expected = trained(small, whole, hits)

    def kill(_, said):
        if said == f"epoch {killed_in} of 4":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(small, parts, hits, report=kill)
    made = trained(small, parts, hits)
    assert (made.epoch, made.curve) == (expected.epoch, expected.curve)
    assert same(made.tuned, expected.tuned)


def test_a_recipe_names_the_modules_that_are_adapted(small, tmp_path):
    made = trained(small, tmp_path, [90] * 4, recipe=replace(RECIPE, targets=("query", "value")))
    adapted = {name.split(".lora_")[0].rsplit(".", 1)[1] for name in made.tuned.factors}
    assert adapted == {"query", "value"}
    upper = lora.merged(small[0], 5, made.tuned.factors, RECIPE.alpha)
    assert not torch.equal(
        run_upper(upper, 384, small[1].hidden).embedding,
        run_upper(small[0].upper(5), 384, small[1].hidden).embedding,
    )


def test_modules_that_the_base_lacks_are_named(small, tmp_path):
    with pytest.raises(FlywheelError, match="no linear modules called k_proj"):
        trained(small, tmp_path, [90] * 4, recipe=replace(RECIPE, targets=("k_proj",)))
