"""The base as a `transformers` encoder, and its upper layers on their own.

Whatever is below the first trained layer never changes, so a text passes it once. The layers
above are replayed over those states by the model's own forward, in a copy whose lower layers
only hand on what they are given: masks, positions and everything else of the family are the
model's own business. Where a family does not allow that (it shares layers, or passes more than
states from one to the next), the whole model runs over token ids; `replays` finds out by trying.

Attention is the eager one: the fused one's bf16 backward takes twice as long on a processor, and in
float32 the two take the same.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from flywheel.errors import FlywheelError
from flywheel.worker.device import CPU
from flywheel.worker.models.base import Base, Pooling

_AGREE = 1e-4  # largest difference of a replay that is one

_NOT_REPLAYED = (RuntimeError, TypeError, ValueError, AttributeError, LookupError)


class Encoder:
    """A frozen base in float32 on one device. Not thread-safe; a worker has one."""

    def __init__(self, base: Base, model: nn.Module, device: torch.device = CPU) -> None:
        self.base = base
        self.device = device
        self.model = model.eval().requires_grad_(False).to(device)
        lists = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
        self.stack = next((m for m in lists if len(m) == base.depth), None)

    @classmethod
    def load(cls, base: Base, device: torch.device = CPU) -> Encoder:
        """Read the weights as float32.

        Raises:
            FlywheelError: `transformers` cannot make a model of them.
        """
        from transformers import AutoModel
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            model = AutoModel.from_pretrained(
                base.folder, dtype=torch.float32, attn_implementation="eager", use_safetensors=True
            )
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            raise FlywheelError(
                f"base model {base.name} cannot be loaded: {error}",
                hint="name another encoder in [model] base",
            ) from error
        model.name_or_path = base.hub_name  # what adapters say they belong to
        return cls(base, model, device)

    def read(self, ids: Tensor, mask: Tensor, depth: int) -> tuple[Tensor, Tensor]:
        """What layer `depth` is given, and the last states.

        Args:
            ids: int64 (batch, length).
            mask: bool (batch, length), False where there is padding.
            depth: 0 for none; the first of the two are then the ids.

        Returns:
            (batch, length, width) twice, on the model's device.
        """
        ids, mask = ids.to(self.device), mask.to(self.device)  # (batch, length) each
        ids = ids.masked_fill(~mask, self.base.pad)
        if not depth or self.stack is None:
            return ids, last_states(self.model, ids, mask)
        caught: list[Tensor] = []

        def catch(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            caught.append(args[0] if args else named["hidden_states"])

        hook = self.stack[depth].register_forward_pre_hook(catch, with_kwargs=True)
        try:
            top = last_states(self.model, ids, mask)
        finally:
            hook.remove()
        return caught[0], top

    def upper(self, depth: int, dtype: torch.dtype = torch.float32) -> Upper:
        """A copy of the layers from `depth` up; what it need not own it shares."""
        lower = _LowerStates()
        memo: dict[int, Any] = {}
        if depth and self.stack is not None:
            for number, layer in enumerate(self.stack[:depth]):
                memo[id(layer)] = _SkippedLayer(layer, self._returned, None if number else lower)
        if dtype == torch.float32:
            for name, tensor in self.model.named_parameters():
                if name not in self.linear_weights(depth):
                    memo[id(tensor)] = tensor
        model = copy.deepcopy(self.model, memo).to(dtype)
        return Upper(model, lower, self.base, self.device)

    def with_weights(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """A copy of the whole model with some weights replaced, by name; it shares the others."""
        memo: dict[int, Any] = {}
        for name, tensor in self.model.named_parameters():
            own = weights.get(name)
            memo[id(tensor)] = tensor if own is None else nn.Parameter(own, requires_grad=False)
        memo |= {id(buffer): buffer for buffer in self.model.buffers()}
        copied: nn.Module = copy.deepcopy(self.model, memo)
        return copied

    def round_below(self, depth: int, model: nn.Module) -> None:
        """Let a copy of the model round the input of layer `depth` to float16; 0 for nothing.

        An answer from the cache of frozen states is computed from states so rounded. Rounded too,
        a server's confidence is the evaluated one within 1e-4; else it differs by up to 1e-3.
        """
        if not depth or self.stack is None:
            return
        lists = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
        stack = next(m for m in lists if len(m) == self.base.depth)

        def rounded(
            _: nn.Module, args: tuple[Any, ...], named: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if args:
                return (args[0].half().float(), *args[1:]), named
            return args, {**named, "hidden_states": named["hidden_states"].half().float()}

        stack[depth].register_forward_pre_hook(rounded, with_kwargs=True)

    def linear(self, depth: int) -> list[str]:
        """Names of the linear modules from layer `depth` up; of the whole model without layers."""
        root = self.model if self.stack is None else self.stack
        inside = {id(m) for layer in _from(root, depth) for m in layer.modules()}
        return [
            name
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Linear) and id(module) in inside and "pooler" not in name
        ]

    def linear_weights(self, depth: int) -> set[str]:
        """Names of the parameters that LoRA may be merged into."""
        return {f"{name}.weight" for name in self.linear(depth)}

    @torch.inference_mode()
    def replays(self, depth: int) -> bool:
        """Whether the layers from `depth` up give the same when they run alone."""
        if not 0 < depth < self.base.depth or self.stack is None:
            return False
        ids, mask = _sample()
        try:
            below, top = self.read(ids, mask, depth)
            again = self.upper(depth).run(below, mask)
        except _NOT_REPLAYED:
            return False
        return bool((again - top)[mask.to(self.device)].abs().max() < _AGREE)

    @cached_property
    def _returned(self) -> int:
        """Length of the tuple that a layer returns; 0 when it returns its states alone."""
        assert self.stack is not None
        lengths: list[int] = []

        def look(_: nn.Module, __: tuple[Any, ...], out: object) -> None:
            lengths.append(len(out) if isinstance(out, tuple) else 0)

        hook = self.stack[0].register_forward_hook(look)
        try:
            with torch.inference_mode():
                ids, mask = _sample()
                last_states(self.model, ids.to(self.device), mask.to(self.device))
        finally:
            hook.remove()
        return lengths[0]


class Upper:
    """Upper layers over given states, or a whole model over token ids."""

    def __init__(
        self, model: nn.Module, lower: _LowerStates, base: Base, device: torch.device
    ) -> None:
        self.model = model
        self.pooling = base.pooling
        self._lower = lower
        self._base = base
        self._device = device

    def run(self, x: Tensor, mask: Tensor) -> Tensor:
        """Last states (batch, length, width), on the model's device.

        Args:
            x: states (batch, length, width) below the lowest layer, or ids int64 (batch, length).
            mask: bool (batch, length), False where there is padding.
        """
        x, mask = x.to(self._device), mask.to(self._device)
        if not x.is_floating_point():
            return last_states(self.model, x.masked_fill(~mask, self._base.pad), mask)
        self._lower.states = x
        # Any ids do: what the embedding makes of them is replaced by the given states.
        return last_states(self.model, torch.zeros_like(mask, dtype=torch.int64), mask)

    def change(self, by: Callable[[Any], nn.Module]) -> Upper:
        """The same over the model that `by` makes of this one."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            return Upper(by(self.model), self._lower, self._base, self._device)


class _LowerStates:
    """Holds the states (batch, length, width) that are put in place of the lower layers' output."""

    states: Tensor


class _SkippedLayer(nn.Module):
    """Takes the place of a lower layer and returns its input, or the given lower states."""

    def __init__(self, layer: nn.Module, returned: int, lower: _LowerStates | None) -> None:
        super().__init__()
        self._returned, self._lower = returned, lower
        for name, value in vars(layer).items():
            if not name.startswith("_") and isinstance(value, (str, int, float)):
                setattr(self, name, value)  # a model may ask a layer for its kind

    def forward(
        self, hidden_states: Tensor, *_: Any, **__: Any
    ) -> Tensor | tuple[Tensor | None, ...]:
        states = hidden_states if self._lower is None else self._lower.states
        return (states, *[None] * (self._returned - 1)) if self._returned else states


def pool(x: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """One vector of the states of real tokens, of length one.

    Args:
        x: (batch, length, width).
        mask: bool (batch, length), on any device; True from the first token to the last.
        pooling: how, as the base's own files say.

    Returns:
        float32 (batch, width), on the device of x.
    """
    real = mask.to(x.device)
    weight = real.unsqueeze(-1).float()  # (batch, length, 1)
    if pooling == "cls":
        vector = x[:, 0].float()  # (batch, width)
    elif pooling == "lasttoken":
        last = (real.sum(1) - 1).clamp(min=0)  # (batch,)
        vector = x[torch.arange(len(x), device=x.device), last].float()
    elif pooling == "max":
        vector = x.float().masked_fill(~real.unsqueeze(-1), -1e9).amax(1)
    else:
        vector = (x.float() * weight).sum(1) / weight.sum(1).clamp(min=1)
    return functional.normalize(vector, dim=-1)


def _sample() -> tuple[Tensor, Tensor]:
    """Ids int64 and mask bool, both (2, 8): some tokens to try the model with."""
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[1, 5:] = False
    return torch.arange(5, 21).view(2, 8), mask


def last_states(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """Last states (batch, length, width) of ids int64 and mask bool, both (batch, length)."""
    last: Tensor = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return last


def _from(root: nn.Module, depth: int) -> list[nn.Module]:
    return list(root)[depth:] if isinstance(root, nn.ModuleList) else [root]
