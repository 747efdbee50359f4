import pytest

from benchmarks.killing import survive


def test_what_was_acknowledged_is_there_once_after_a_few_kills(tmp_path):
    survived = survive(tmp_path, 4, load_s=0.6, mixed=True)
    assert survived.acknowledged > 100
    assert (survived.lost, survived.duplicates) == (0, 0)
    assert survived.differences == ()


def test_samples_and_decisions_are_there_once_though_the_engines_log_was_damaged(tmp_path):
    survived = survive(tmp_path, 2, load_s=0.5, mixed=True, words=200, damage=True)
    assert survived.damaged == 1
    assert survived.words > 0
    assert (survived.lost, survived.duplicates, survived.differences) == (0, 0, ())


@pytest.mark.slow
def test_samples_and_decisions_are_there_once_after_200_kills(tmp_path):
    survived = survive(tmp_path, 200, seed=3, mixed=True, words=4_000, damage=True)
    assert survived.words > 1_000
    assert (survived.lost, survived.duplicates, survived.differences) == (0, 0, ())


@pytest.mark.slow
def test_what_was_acknowledged_is_there_once_after_200_kills(tmp_path):
    survived = survive(tmp_path, 200, seed=1)
    assert survived.acknowledged > 10_000
    assert (survived.lost, survived.duplicates) == (0, 0)


@pytest.mark.slow
def test_feedback_and_records_of_others_are_there_once_after_a_hundred_kills(tmp_path):
    survived = survive(tmp_path, 100, seed=2, mixed=True)
    assert survived.acknowledged > 5_000
    assert (survived.lost, survived.duplicates) == (0, 0)
    assert survived.differences == ()
