"""The LoRA loop: from the base, with heads that start from logistic regression.

In the device's number type, without dropout in the layers, batches of similar length, AdamW with
warm-up and linear decay. Every epoch leaves a checkpoint; the order of rows and the tokens dropped
depend on seed and epoch alone, so a run that was killed ends in the same weights as one that was
not. What is trained lies on the encoder's device, rows and results on the processor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from flywheel.errors import FlywheelError
from flywheel.worker import checkpoints, learning_curve
from flywheel.worker.checkpoints import Checkpoint
from flywheel.worker.device import CPU
from flywheel.worker.learning_curve import CurveLine
from flywheel.worker.logistic import Linear
from flywheel.worker.models.encoder import lora, slots
from flywheel.worker.models.encoder.frozen_states import padded_states
from flywheel.worker.models.encoder.layers import Encoder, pool
from flywheel.worker.models.encoder.slots import Tags
from flywheel.worker.recipes import Recipe

_BETAS = (0.9, 0.999)
_EPS = 1e-8

Heads = tuple[Linear, Linear | None]
"""Of intents, and of tags where there are arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRows:
    """Training rows, on the processor."""

    hidden: Sequence[Tensor]  # below the first trained layer, see `frozen_states.States`
    labels: Tensor  # int64 (n,)
    weights: Tensor  # float32 (n,)
    tags: Sequence[Tags] | None  # None when there are no slots


@dataclass(frozen=True, slots=True)
class Tuned:
    """Trained weights, float32 on the processor."""

    factors: lora.Factors
    head: Linear
    tag_head: Linear | None


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """An epoch's loss and weights, as `watch` is given them."""

    epoch: int  # 1..epochs
    loss: float  # mean over the epoch's batches
    tuned: Tuned


@dataclass(frozen=True, slots=True)
class EpochResult:
    """Result of one epoch's evaluation: its line of the curve, and the dev rows that are right."""

    line: CurveLine
    right: Tensor | None = None  # bool (n,), of the same dev rows each time; None without any


@dataclass(frozen=True, slots=True)
class Training:
    """Weights of the epoch that is taken, and the learning curve."""

    tuned: Tuned  # as it was at the end of `epoch`
    curve: list[CurveLine]  # every epoch that was run
    epoch: int  # the one taken, 1..epochs


class _Parameters:
    """All trainable numbers in one flat float32 tensor, so that AdamW and checkpoints are short.

    The model computes with a copy of LoRA's part, of `dtype`.
    """

    def __init__(
        self,
        encoder: Encoder,
        depth: int,
        recipe: Recipe,
        heads: Heads,
        seed: int,
        dtype: torch.dtype,
    ) -> None:
        self.dtype = dtype
        self.device = encoder.device
        rank, alpha, targets = recipe.rank, recipe.alpha, recipe.targets
        self.upper = lora.wrap(encoder, depth, rank, alpha, seed, dtype, targets)
        factors = lora.names(self.upper.model)
        self.names, self.leaves = list(factors), list(factors.values())
        head, tag_head = heads
        tensors = [*(p.detach() for p in self.leaves), head.weight, head.bias]
        tensors += [tag_head.weight, tag_head.bias] if tag_head is not None else []
        self.shapes = [t.shape for t in tensors]
        self.flat = torch.cat([t.to(self.device).float().flatten() for t in tensors])
        self.lora_size = sum(p.numel() for p in self.leaves)
        self._fast = torch.empty(self.lora_size, dtype=self.dtype, device=self.device)
        for leaf, view in zip(self.leaves, self._views(self._fast, 0), strict=False):
            leaf.data = view

    def step(self) -> Tensor:
        """Hand the model what it computes with; the heads' part is returned, with a gradient."""
        self._fast.copy_(self.flat[: self.lora_size])
        return self.flat[self.lora_size :].clone().requires_grad_()

    def heads(self, flat: Tensor) -> Heads:
        """Name the parts of the heads' flat tensor; gradients flow back into it."""
        views = self._views(flat, len(self.leaves))
        return Linear(views[0], views[1]), Linear(views[2], views[3]) if views[2:] else None

    def copy(self) -> Tuned:
        """What is trained so far, on the processor."""
        flat = self.flat.to(CPU, copy=True)
        factors = dict(zip(self.names, self._views(flat[: self.lora_size], 0), strict=False))
        return Tuned(factors, *self.heads(flat[self.lora_size :]))

    def _views(self, flat: Tensor, first: int) -> list[Tensor]:
        shapes, sizes, start = self.shapes[first:], [], 0
        for shape in shapes:
            size = math.prod(shape)
            if start + size > len(flat):
                break
            sizes.append(size)
            start += size
        parts = torch.split(flat, sizes)
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=False)]


class _AdamW:
    def __init__(self, size: int, recipe: Recipe, steps: int, device: torch.device) -> None:
        self.mean = torch.zeros(size, device=device)
        self.square = torch.zeros(size, device=device)
        self.step, self.steps, self.recipe = 0, steps, recipe

    def update(self, flat: Tensor, gradient: Tensor) -> None:
        self.step += 1
        rate = self.recipe.learning_rate * self._schedule()
        self.mean.lerp_(gradient, 1 - _BETAS[0])
        self.square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        mean_scale = 1 / (1 - _BETAS[0] ** self.step)
        spread = (self.square / (1 - _BETAS[1] ** self.step)).sqrt_().add_(_EPS)
        flat.mul_(1 - rate * self.recipe.weight_decay)
        flat.addcdiv_(self.mean, spread, value=-rate * mean_scale)

    def _schedule(self) -> float:
        warm = max(1, round(self.recipe.warmup * self.steps))
        if self.step <= warm:
            return self.step / warm
        return max(0.0, (self.steps - self.step + 1) / max(1, self.steps - warm + 1))


def initial(encoder: Encoder, depth: int, recipe: Recipe, start: Heads, seed: int) -> Tuned:
    """The untrained state: LoRA that changes nothing, and the heads as given."""
    return _Parameters(encoder, depth, recipe, start, seed, torch.float32).copy()


def tune(
    encoder: Encoder,
    depth: int,
    recipe: Recipe,
    rows: TrainingRows,
    start: Heads,
    *,
    seed: int,
    dtype: torch.dtype,
    checkpoint: Path,
    fingerprint: str,
    watch: Callable[[EpochEnd], EpochResult],
    report: Callable[[float, str], None],
    epochs: int | None = None,
) -> Training:
    """Train, or go on from the checkpoint of the same fingerprint.

    Args:
        depth: the first layer that is trained.
        start: the intent head and the tag head to start from.
        dtype: what the trained layers compute in.
        fingerprint: of everything the result depends on; another one starts afresh.
        watch: called after each epoch; its line goes into the curve, and by the dev rows that are
            right an earlier epoch is taken, see `learning_curve`.
        report: called with the fraction done and a short text.
        epochs: end after this one, on the whole recipe's schedule.
    """
    parameters = _Parameters(encoder, depth, recipe, start, seed, dtype)
    last = recipe.epochs if epochs is None else epochs
    steps = recipe.epochs * -(-len(rows.hidden) // recipe.batch)
    adam = _AdamW(len(parameters.flat), recipe, steps, encoder.device)
    state = checkpoints.load(checkpoint, fingerprint, encoder.device) or Checkpoint(
        flat=parameters.flat, mean=adam.mean, square=adam.square, best=parameters.flat
    )
    parameters.flat, adam.mean, adam.square, adam.step = (
        state.flat,
        state.mean,
        state.square,
        state.step,
    )
    while len(state.curve) < last and not learning_curve.stops(state.right):
        loss = _epoch(parameters, adam, rows, recipe, seed * 1009 + len(state.curve), report)
        result = watch(EpochEnd(len(state.curve) + 1, loss, parameters.copy()))
        state = state.after(result.line, result.right, adam.step)
        checkpoints.save(checkpoint, fingerprint, state)
    taken = learning_curve.taken(state.right)
    if taken is not None and taken < len(state.curve) - 1:
        parameters.flat = state.best
        return Training(parameters.copy(), state.curve, taken + 1)
    return Training(parameters.copy(), state.curve, len(state.curve))


def _epoch(
    parameters: _Parameters,
    adam: _AdamW,
    rows: TrainingRows,
    recipe: Recipe,
    seed: int,
    report: Callable[[float, str], None],
) -> float:
    """One pass over the rows; the mean loss.

    Raises:
        FlywheelError: the loss is no longer a number.
    """
    losses = []
    dropout = TokenDropout(recipe.token_dropout, seed)
    for batch in batches(rows.hidden, recipe.batch, seed):
        losses.append(_step(parameters, adam, rows, batch, recipe, dropout))
        share = adam.step / adam.steps
        report(share, f"epoch {math.ceil(share * recipe.epochs)} of {recipe.epochs}")
    if not math.isfinite(losses[-1]):
        raise FlywheelError(
            f"training diverged at step {adam.step} of {adam.steps}",
            hint="choose a recipe with a lower learning rate",
        )
    return sum(losses) / len(losses)


def _step(
    parameters: _Parameters,
    adam: _AdamW,
    rows: TrainingRows,
    batch: list[int],
    recipe: Recipe,
    dropout: TokenDropout,
) -> float:
    flat, device = parameters.step(), parameters.device
    head, tag_head = parameters.heads(flat)
    texts = [dropout.apply(rows.hidden[i], rows.tags[i] if rows.tags else None) for i in batch]
    x, mask = padded_states([states for states, _ in texts], parameters.dtype)
    top = parameters.upper.run(x, mask)  # (batch, length, width)
    weights = rows.weights[batch].to(device)  # (batch,)
    losses = functional.cross_entropy(
        head.logits(pool(top, mask, parameters.upper.pooling)),
        rows.labels[batch].to(device),
        reduction="none",
    )  # (batch,)
    loss = (losses * weights).sum() / weights.sum().clamp(min=1e-6)
    if tag_head is not None:
        tag_loss = _tag_loss(tag_head, top, [tags for _, tags in texts if tags is not None])
        if tag_loss is not None:
            loss = loss + recipe.tag_weight * tag_loss
    gradients = torch.autograd.grad(loss, [*parameters.leaves, flat])
    adam.update(parameters.flat, torch.cat([g.float().flatten() for g in gradients]))
    return float(loss.detach())


def _tag_loss(head: Linear, top: Tensor, tags: Sequence[Tags]) -> Tensor | None:
    """Mean loss over the units of a batch; None without any.

    Args:
        top: (batch, length, width).
        tags: of each row of the batch.
    """
    counts = torch.tensor([len(row.tags) for row in tags])  # (batch,)
    if not counts.any():
        return None
    device = top.device
    rows = torch.arange(len(tags)).repeat_interleave(counts).to(device)  # (units,)
    tokens = torch.cat([row.tokens for row in tags]).to(device)
    places = torch.cat([row.places for row in tags]).to(device)
    right = torch.cat([row.tags for row in tags]).to(device)
    states = top[rows, tokens].float()  # (units, width)
    logits = head.logits(slots.features(states, places, head.weight.shape[1]))
    return functional.cross_entropy(logits, right)


_CHUNK = 64  # batches that are sorted by length together


def batches(hidden: Sequence[Tensor], size: int, seed: int) -> list[list[int]]:
    """The rows by number, shuffled into batches of `size` whose texts are of similar length."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(hidden), generator=generator).tolist()
    formed: list[list[int]] = []
    for start in range(0, len(order), size * _CHUNK):
        chunk = sorted(order[start : start + size * _CHUNK], key=lambda i: len(hidden[i]))
        formed += [chunk[i : i + size] for i in range(0, len(chunk), size)]
    return [formed[i] for i in torch.randperm(len(formed), generator=generator).tolist()]


class TokenDropout:
    """Drops tokens at random in one epoch, so that no text is learned by a single word.

    Source: word dropout, Iyyer et al. 2015 (deep averaging networks); here over the frozen states
    of tokens, each of which has seen the whole text.
    """

    def __init__(self, rate: float, seed: int) -> None:
        self._rate, self._generator = rate, torch.Generator().manual_seed(seed)

    def apply(self, states: Tensor, tags: Tags | None) -> tuple[Tensor, Tags | None]:
        """The text without some of its tokens; never without the first, nor one of an argument.

        Args:
            states: (length, width), or token ids (length,).
            tags: of the text's units; a token with a unit of an argument is kept.
        """
        if not self._rate:
            return states, tags
        keep = torch.rand(len(states), generator=self._generator) >= self._rate
        keep[0] = True
        if tags is not None:
            keep[tags.tokens[tags.tags > slots.OUTSIDE]] = True
        return states[keep], None if tags is None else tags.of_tokens(keep)
