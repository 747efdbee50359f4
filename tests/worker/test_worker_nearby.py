"""What lies near a row in the embedding."""

import torch

from flywheel.worker.crossfit import agreement, alike


def unit(*rows):
    return torch.nn.functional.normalize(torch.tensor(rows), dim=1)


def test_the_nearest_that_are_not_asked_about_say_whether_a_label_is_at_home():
    home = [[1.0, 0.01 * n] for n in range(12)]
    away = [[0.01 * n, 1.0] for n in range(12)]
    x = unit(*home, *away, [1.0, 0.0], [0.0, 1.0])
    y = torch.tensor([0] * 12 + [1] * 12 + [0, 0])
    asked = torch.tensor([False] * 24 + [True, True])
    found = agreement(x, y, asked)
    assert found[24] == 1
    assert found[25] == 0
    assert (found[:24] == 1).all()


def test_without_anybody_to_ask_nothing_is_doubted():
    x, y = unit([1.0, 0.0], [0.0, 1.0]), torch.tensor([0, 1])
    assert agreement(x, y, torch.tensor([True, True])).tolist() == [1, 1]
    assert agreement(x, y, torch.tensor([False, True])).tolist() == [1, 1]


def test_pairs_are_of_one_label_and_start_at_an_asked_row():
    x = unit([1.0, 0.0], [1.0, 0.1], [1.0, 0.05], [1.0, 0.0])
    y = torch.tensor([0, 0, 0, 1])
    ones, others, cosines = alike(x, y, torch.tensor([False, True, True, True]), 0.9)
    assert sorted(zip(ones, others, strict=True)) == [(1, 0), (1, 2), (2, 0), (2, 1)]
    assert all(0.9 <= cosine <= 1.0001 for cosine in cosines)
