"""Sets with hard intents, made from an easy one by a seeded construction.

Stand-ins for sets of many overlapping intents, for benchmarks that have only easy sets. `own` is
the set as it is. `near` are the 64 intents whose texts lie nearest to another intent's. `split`
cuts 40 of those in two by two-means of their embeddings: borders without a gap. `twins` cuts 15 of
them so that three in ten of their texts fall to either side by lot, which nobody can tell apart,
beside 40 whole ones. `unequal` is `split` with feedback by rank, from 60 texts an intent down to 3.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from partition import Row
from torch import Tensor

SETS = ("own", "near", "split", "twins", "unequal")
NEAR, CUT, TWINS, WHOLE = 64, 40, 15, 40
BY_LOT = 0.3  # of the texts of twins
LEAST = 30  # texts of an intent
MOST, FEWEST, SLOPE = 60, 3, 0.6  # feedback of an intent in `unequal`


def made(kind: str, rows: Sequence[Row], x: Tensor) -> list[Row]:
    """Return the rows of a set made from `rows`, some with other intents, in their order.

    Args:
        kind: of `SETS`.
        rows: of the whole set, `none` left out.
        x: float32 (n, width), their embeddings.
    """
    if kind == "own":
        return list(rows)
    places: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        places[row.intent].append(place)
    near = _nearest(places, x)
    whole = {"near": near[:NEAR], "twins": near[TWINS : TWINS + WHOLE]}.get(kind, [])
    cut = {"twins": near[:TWINS], "near": []}.get(kind, near[:CUT])
    labels = {place: name for name in whole for place in places[name]}
    for name in cut:
        for place, side in zip(
            places[name], _sides(x[places[name]], name, kind == "twins"), strict=True
        ):
            labels[place] = f"{name}.{side}"
    sizes: dict[str, int] = defaultdict(int)
    for label in labels.values():
        sizes[label] += 1
    return [
        Row(rows[place].text, label)
        for place, label in sorted(labels.items())
        if sizes[label] >= LEAST
    ]


def feedback_of(kind: str, intents: Sequence[str], usual: int, seed: int) -> dict[str, int]:
    """Number of feedback texts of each intent."""
    if kind != "unequal":
        return dict.fromkeys(intents, usual)
    order = random.Random(f"unequal {seed}").sample(sorted(intents), len(intents))
    return {name: max(FEWEST, int(MOST / (1 + rank) ** SLOPE)) for rank, name in enumerate(order)}


def neighbours(x: Tensor, intents: Sequence[str]) -> dict[str, str]:
    """The intent whose texts lie nearest to each, by the cosine of means.

    Args:
        x: float32 (n, width).
        intents: their labels.
    """
    names = sorted(set(intents))
    number = {name: n for n, name in enumerate(names)}
    y = torch.tensor([number[name] for name in intents])
    means = torch.stack([x[y == n].mean(0) for n in range(len(names))])
    cosines = _unit(means) @ _unit(means).T
    cosines.fill_diagonal_(-1)
    return {name: names[int(cosines[n].argmax())] for n, name in enumerate(names)}


def _nearest(places: Mapping[str, Sequence[int]], x: Tensor) -> list[str]:
    """Intents, those first that lie nearest to another one."""
    names = sorted(places)
    means = _unit(torch.stack([x[list(places[name])].mean(0) for name in names]))
    cosines = means @ means.T
    cosines.fill_diagonal_(-1)
    nearest = cosines.max(1).values.tolist()
    return [name for _, name in sorted(zip((-c for c in nearest), names, strict=True))]


def _sides(x: Tensor, name: str, by_lot: bool) -> list[int]:
    """Which half each text of an intent falls to: two-means, or partly a coin."""
    dice = random.Random(name)
    centres = x[dice.sample(range(len(x)), 2)].clone()
    sides = torch.zeros(len(x), dtype=torch.int64)
    for _ in range(15):
        sides = (x @ centres.T).argmax(1)
        for side in (0, 1):
            if bool((sides == side).any()):
                centres[side] = _unit(x[sides == side].mean(0, keepdim=True))[0]
    if not by_lot:
        return [int(side) for side in sides]
    return [dice.randrange(2) if dice.random() < BY_LOT else int(side) for side in sides]


def _unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=1)
