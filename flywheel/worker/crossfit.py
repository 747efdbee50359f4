"""How likely is each row's label, as a model sees it that was not shown the row?

Logistic regression on the base's embedding, out of fold, and the nearest rows in it: the raw
material of curation's rules on labels and paraphrases. Embeddings have length one, so a product
is a cosine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from flywheel import files
from flywheel.worker import logistic, models
from flywheel.worker.dataset_rows import class_numbers
from flywheel.worker.logistic import Linear
from flywheel.worker.models.protocol import ModelSettings, Report
from flywheel.worker.progress import ProgressLog

_NEIGHBOURS = 10
_CHUNK = 1024  # rows whose cosines are computed together
_STEPS = 25  # of L-BFGS a fold; more change the probabilities, and no verdict
_STEPS_AGAIN = 12  # from where the first pass ended
_RATIO = 6.0  # the second pass leaves out rows that fit another class this much better
_USUAL = 0.3  # confidence a class is taken for before its rows say more,
_ROWS = 3.0  # as if so many rows had it
_ALIKE = 0.85  # cosine from which pairs are written; curation counts on it
_TRUSTED = ("seed", "person")
_WORTH = 3.0  # a trusted row counts as so many: where wrong labels agree, it is what contradicts


def agreement(x: Tensor, y: Tensor, asked: Tensor) -> Tensor:
    """Share of the nearest rows that carry a row's label, float32 (n,), 0..1.

    Neighbours are rows that are not asked about, so that samples do not vouch for one another;
    1 where there are none.

    Args:
        x: float32 (n, width), rows of length one.
        y: int64 (n,), labels.
        asked: bool (n,), rows that are no neighbours.
    """
    shares = torch.ones(len(x))
    known = (~asked).nonzero()[:, 0]
    count = min(_NEIGHBOURS + 1, len(known))  # itself may be among them
    if count < 2:
        return shares
    for start in range(0, len(x), _CHUNK):
        rows = torch.arange(start, min(start + _CHUNK, len(x)))
        near = known[(x[rows] @ x[known].T).topk(count, 1).indices]  # (rows, count)
        other = near != rows[:, None]  # (rows, count)
        same = (y[near] == y[rows][:, None]) & other
        shares[rows] = same.sum(1).float() / other.sum(1).clamp(min=1)
    return shares


def alike(
    x: Tensor, y: Tensor, asked: Tensor, least: float
) -> tuple[list[int], list[int], list[float]]:
    """Pairs of an asked row and another of its label with a cosine of `least` or more."""
    ones: list[int] = []
    others: list[int] = []
    cosines: list[float] = []
    for label in sorted(set(y[asked].tolist())):
        rows = (y == label).nonzero()[:, 0]
        mine = rows[asked[rows]]
        near = x[mine] @ x[rows].T  # cosines (asked rows, rows)
        near[mine[:, None] == rows] = -1
        for i, j in (near >= least).nonzero().tolist():
            ones.append(int(mine[i]))
            others.append(int(rows[j]))
            cosines.append(float(near[i, j]))
    return ones, others, cosines


def run(folder: Path, spec: Mapping[str, Any], progress: ProgressLog) -> dict[str, Any]:
    """Read rows.parquet (id, text, intent, origin), write scores.parquet and pairs.parquet.

    Rows of origin `unsettled`, whose text has other labels too, are scored and teach nothing. Those
    of origin `dev` are scored and teach, but they are no neighbours, and no anchor.

    Scores: id, p_label, top (the class that fits best), p_top, odds (see `fit_odds`), taught (some
    row of another fold has its label: else its odds are no doubt), agree (share of the nearest rows
    with its label), anchor (see `anchored`; null where it says nothing). Pairs: id of a teacher's
    row, other (a row of the same label) and their cosine, where it is `_ALIKE` or more.

    Returns:
        values: rows, and agreed (share of rows whose likeliest class is the label).
    """
    rows = pq.read_table(
        folder / "rows.parquet", columns=["id", "text", "intent", "origin"]
    ).to_pydict()
    model = models.open_model(ModelSettings.of(spec))
    x = model.embed(rows["text"], progress.part(0.0, 0.5, "reading texts"))  # (n, width)
    labels = sorted(set(rows["intent"]))
    y = class_numbers(rows["intent"], labels)  # (n,)
    fold = folds(rows["text"], rows["intent"], int(spec["folds"]), int(spec["seed"]))
    trusted = _of_origin(rows["origin"], _TRUSTED)
    aside = _of_origin(rows["origin"], ("unsettled",))
    dev = _of_origin(rows["origin"], ("dev",))
    fitting = progress.part(0.5, 1.0, "fitting")
    p = out_of_fold(x, y, fold, max(1, len(labels)), trusted | dev, fitting, aside)
    odds, top = fit_odds(p, y, aside)
    scores = {
        "id": pa.array(rows["id"], pa.string()),
        "p_label": p.gather(1, y[:, None])[:, 0].numpy(),
        "top": pa.array([labels[i] for i in top.tolist()], pa.string()),
        "p_top": p.gather(1, top[:, None])[:, 0].numpy(),
        "odds": odds.numpy(),
        "taught": taught(y, fold, aside).numpy(),
        "anchor": pa.array(anchored(x, y, fold, trusted), pa.float64()),
    }
    written = _of_origin(rows["origin"], ("teacher", "unsettled"))
    unit = torch.nn.functional.normalize(x.float(), dim=1)  # (n, width)
    scores["agree"] = agreement(unit, y, written | dev).numpy()
    apart = torch.where(dev, -1, y)  # a dev row is of no sample's label here
    pairs = _pairs(rows["id"], *alike(unit, apart, written, _ALIKE))
    for name, columns in (("pairs", pairs), ("scores", scores)):
        with files.replacing(folder / f"{name}.parquet") as staged:
            pq.write_table(pa.table(columns), staged)
    agreed = float((top == y).float().mean()) if len(p) else 1.0
    return {"rows": len(y), "agreed": round(agreed, 4)}


def _pairs(
    ids: Sequence[str], ones: Sequence[int], others: Sequence[int], cosines: Sequence[float]
) -> dict[str, pa.Array]:
    return {
        "id": pa.array([ids[i] for i in ones], pa.string()),
        "other": pa.array([ids[j] for j in others], pa.string()),
        "cosine": pa.array(cosines, pa.float64()),
    }


def check(folder: Path, spec: Mapping[str, Any], progress: ProgressLog) -> dict[str, Any]:
    """How does dev do with the rule on label noise, and without it? Logistic regression, twice.

    Reads rows.parquet (id, text, intent, origin: `dev` or another, ruled, given): the weight of
    each row with the rule and without, 0 where it is not learned.

    Returns:
        values: dev (rows), ruled and given (macro accuracy on dev, 0..1), gained and lost (dev rows
        that are right with the rule alone, and without it alone).
    """
    rows = pq.read_table(folder / "rows.parquet").to_pydict()
    model = models.open_model(ModelSettings.of(spec))
    x = model.embed(rows["text"], progress.part(0.0, 0.8, "reading texts"))  # (n, width)
    labels = sorted(set(rows["intent"]))
    y = class_numbers(rows["intent"], labels)  # (n,)
    dev = _of_origin(rows["origin"], ("dev",))
    right: dict[str, Tensor] = {}
    for name in ("ruled", "given"):
        weights = _balanced(torch.tensor(rows[name], dtype=torch.float32), y, len(labels))
        shown = weights > 0
        head = logistic.fit(x[shown], y[shown], len(labels), weights=weights[shown])
        right[name] = head.logits(x[dev]).argmax(1) == y[dev]
    return {
        "dev": int(dev.sum()),
        **{name: round(_macro(hits, y[dev]), 4) for name, hits in right.items()},
        "gained": int((right["ruled"] & ~right["given"]).sum()),
        "lost": int((right["given"] & ~right["ruled"]).sum()),
    }


def _balanced(weights: Tensor, y: Tensor, classes: int) -> Tensor:
    """Weights with which every class has the same sum; the mean of those above zero is one."""
    sums = torch.zeros(classes).index_add_(0, y, weights)
    even = weights / sums.clamp(min=1e-9)[y]
    return even * int((weights > 0).sum()) / even.sum().clamp(min=1e-9)


def _macro(hits: Tensor, y: Tensor) -> float:
    """Mean over classes of the share of rows that are right."""
    if not len(y):
        return 0.0
    shares = [hits[y == label].float().mean() for label in sorted(set(y.tolist()))]
    return float(torch.stack(shares).mean())


def _of_origin(origins: Sequence[str], names: Sequence[str]) -> Tensor:
    """Which rows are of these origins, bool (n,)."""
    return torch.tensor([origin in names for origin in origins], dtype=torch.bool)


def folds(texts: Sequence[str], intents: Sequence[str], count: int, seed: int) -> Tensor:
    """Fold of each row, int64 (n,): spread over each intent, equal texts together."""
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    of_text: dict[str, int] = {}
    used: dict[str, int] = {}
    for row in order:
        key = texts[row].casefold()
        if key not in of_text:
            turn = used.get(intents[row], len(used))  # intents start at different folds
            used[intents[row]] = turn + 1
            of_text[key] = turn % count
    return torch.tensor([of_text[text.casefold()] for text in texts], dtype=torch.int64)


def taught(y: Tensor, fold: Tensor, aside: Tensor) -> Tensor:
    """Which rows have a label that a row of another fold teaches, bool (n,).

    No model has seen the label of any other row, so whatever it says of that label is no doubt.

    Args:
        y: int64 (n,), labels.
        fold: int64 (n,), of `folds`.
        aside: bool (n,), rows that teach nothing.
    """
    shape = (int(y.max()) + 1, int(fold.max()) + 1) if len(y) else (0, 0)
    counts = torch.zeros(shape, dtype=torch.int64)  # teaching rows (labels, folds)
    counts.index_put_((y[~aside], fold[~aside]), torch.ones(1, dtype=torch.int64), accumulate=True)
    return counts.sum(1)[y] > counts[y, fold]


def out_of_fold(
    x: Tensor,
    y: Tensor,
    fold: Tensor,
    classes: int,
    trusted: Tensor,
    report: Report = lambda _: None,
    aside: Tensor | None = None,
) -> Tensor:
    """Probabilities float32 (n, classes) of each row from fits on the other folds.

    Twice: the second fit leaves out what the first one doubts.

    Args:
        trusted: bool (n,), rows that are never left out.
        aside: bool (n,), rows that no fit learns from; None: there are none.
    """
    aside = torch.zeros(len(x), dtype=torch.bool) if aside is None else aside
    p = torch.zeros(len(x), classes)  # (n, classes)
    believed = ~aside
    heads: dict[int, Linear] = {}
    weights = 1 + (_WORTH - 1) * trusted.float()
    numbers = sorted(set(fold.tolist()))
    for last, steps in ((False, _STEPS), (True, _STEPS_AGAIN)):
        for done, number in enumerate(numbers):
            held = fold == number
            shown = ~held & believed
            if shown.any():
                heads[number] = logistic.fit(
                    x[shown],
                    y[shown],
                    classes,
                    weights=weights[shown],
                    steps=steps,
                    start=heads.get(number),
                )
                p[held] = heads[number].logits(x[held]).softmax(1)
            report((done + 1) / len(numbers) / 2 + last / 2)
        odds, _ = fit_odds(p, y, aside)
        believed = (trusted | (odds <= _RATIO)) & ~aside
    return p


def anchored(x: Tensor, y: Tensor, fold: Tensor, trusted: Tensor) -> list[float | None]:
    """Odds against each row's label by a model that learned from trusted rows alone.

    Other rows' labels may confirm one another where several people give the same wrong ones; here
    they cannot. None for a trusted row, and for a label that no trusted row has.

    Args:
        x: float32 (n, width).
        y: int64 (n,), the labels.
        fold: int64 (n,), of `folds`.
        trusted: bool (n,).
    """
    known, own = torch.unique(y[trusted], return_inverse=True)
    asked = (~trusted & torch.isin(y, known)).nonzero()[:, 0]
    odds: list[float | None] = [None] * len(y)
    if len(known) < 2 or not len(asked):
        return odds
    everything = torch.ones(len(own), dtype=torch.bool)
    p_trusted = out_of_fold(x[trusted], own, fold[trusted], len(known), everything)
    p = logistic.fit(x[trusted], own, len(known), steps=_STEPS).logits(x[asked]).softmax(1)
    usual = usual_confidence(p_trusted, own)
    against = odds_against(p, torch.searchsorted(known, y[asked]), usual)[0]
    for row, value in zip(asked.tolist(), against.tolist(), strict=True):
        odds[row] = value
    return odds


def fit_odds(p: Tensor, y: Tensor, aside: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """How much better each row fits the class it fits best than its label, and that class.

    A class with few rows is never given much probability, nor is one beside a near neighbour; so
    a probability is compared with what the class's own rows usually get. Without that, right
    labels of a weak class are doubted most, and the class starves.

    Args:
        p: float32 (n, classes), out of fold.
        y: int64 (n,), the labels.
        aside: bool (n,), rows that do not count in what is usual; None: there are none.

    Returns:
        odds float32 (n,), 1 where the label itself fits best; class int64 (n,).
    """
    counted = slice(None) if aside is None else ~aside
    return odds_against(p, y, usual_confidence(p[counted], y[counted]))


def usual_confidence(p: Tensor, y: Tensor) -> Tensor:
    """Probability that rows of each class usually get for their label, float32 (classes,)."""
    own = p.gather(1, y[:, None])[:, 0]  # (n,)
    total = torch.full((p.shape[1],), _USUAL * _ROWS).index_add_(0, y, own)
    rows = torch.full((p.shape[1],), _ROWS).index_add_(0, y, torch.ones(len(y)))
    return total / rows


def odds_against(p: Tensor, y: Tensor, usual: Tensor) -> tuple[Tensor, Tensor]:
    """As `fit_odds`, with the usual confidence of each class, float32 (classes,)."""
    own = p.gather(1, y[:, None])[:, 0]  # (n,)
    best, top = (p / usual).max(1)
    return best / (own / usual[y]).clamp(min=1e-9), top
