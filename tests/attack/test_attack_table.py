"""Every attack of the benchmark's table is held; each is a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.attack_lab import HELD, Case, Lab
from benchmarks.attack_table import EVERY


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(Path(tmp_path_factory.mktemp("attack")), seed=0)
    yield lab
    lab.end()


@pytest.fixture
def lab(laboratory: Lab) -> Iterator[Lab]:
    yield laboratory
    laboratory.close()


def test_every_attack_has_a_name_of_its_own():
    names = [case.name for case in EVERY]
    assert len(set(names)) == len(names) >= 30


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.attempt.__name__)
def test_an_attack_is_held(lab: Lab, case: Case):
    assert case.outcome(lab) == HELD
