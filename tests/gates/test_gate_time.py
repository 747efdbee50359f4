"""Judging is quick enough to ask at any time."""

import random
import time

from gate_cases import evidence, row

from flywheel.config.rules import GatesTable
from flywheel.gates import judge
from flywheel.records import Intent


def test_two_hundred_intents_of_a_hundred_examples_are_judged_in_a_moment():
    draws = random.Random(0)
    outcomes = [
        row(f"s-{i}-{j}", f"i{i}", draws.random() < 0.9, draws.random() < 0.9)
        for i in range(200)
        for j in range(100)
    ]
    body = evidence(outcomes, [Intent(name=f"i{i}") for i in range(200)])
    seconds = []
    for _ in range(5):
        start = time.process_time()
        judge(body, GatesTable())
        seconds.append(time.process_time() - start)
    # about 17 ms where this was written; the promise is 50 ms, doubled for a busy machine
    assert min(seconds) <= 0.100
