"""What the demo's users say over time: a seeded stream of utterances with their true labels."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from flywheel.demo.grammar import Utterance, draw, intents

WEIGHTS: Mapping[str, float] = {
    "set_alarm": 12,
    "set_timer": 14,
    "play_music": 15,
    "play_podcast": 12,
    "send_message": 14,
    "call_contact": 10,
    "get_weather": 12,
    "set_thermostat": 10,
    "none": 3,
}
"""How often each intent is asked for, relative to the others."""

HARD: Mapping[str, float] = {
    "set_alarm": 0.05,
    "set_timer": 0.50,
    "play_music": 0.05,
    "play_podcast": 0.50,
    "send_message": 0.20,
    "call_contact": 0.05,
    "get_weather": 0.05,
    "set_thermostat": 0.05,
    "none": 0.10,
}
"""Share of an intent's utterances that are worded like another intent's."""


def stream(
    count: int,
    seed: int,
    weights: Mapping[str, float] = WEIGHTS,
    hard: Mapping[str, float] = HARD,
) -> tuple[Utterance, ...]:
    """Return `count` utterances in the order they are said; some are said more than once.

    Args:
        count: utterances, not distinct ones.
        seed: the same seed, weights and shares give the same stream.
        weights: by intent, relative; an intent that is absent is never asked for.
        hard: by intent, the share worded like another intent's, 0..1.
    """
    chance = Random(seed)  # noqa: S311  reproducible traffic, no secret
    names = [name for name in intents() if weights.get(name, 0) > 0]
    asked = chance.choices(names, [weights[name] for name in names], k=count)
    return tuple(draw(chance, name, hard.get(name, 0.0)) for name in asked)
