import pytest

from benchmarks.killing import survive


def test_what_was_acknowledged_is_there_once_after_a_few_kills(tmp_path):
    survived = survive(tmp_path, 4, load_s=0.6, mixed=True)
    assert survived.acknowledged > 100
    assert (survived.lost, survived.duplicates) == (0, 0)
    assert survived.differences == ()


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
