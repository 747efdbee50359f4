"""What computes the last states of the whole adapted encoder: torch, or ONNX Runtime.

Both are float32 with LoRA merged. ONNX Runtime takes a third of torch's time on the processor. Its
graph comes from the adapter's folder and holds no weight; those of the base and the merged ones of
the adapter are put in when the session is made. Tables that are only looked up in are given at each
call, in the memory where the base has them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flywheel.worker.device import CPU
from flywheel.worker.models.encoder import lora
from flywheel.worker.models.encoder.adapter import EncoderAdapter
from flywheel.worker.models.encoder.layers import Encoder, last_states

TORCH = "torch"
ONNX = "onnx"


class TorchEncoder:
    """A copy of the base that owns the weights that LoRA changes, and shares all others."""

    engine = TORCH

    def __init__(self, encoder: Encoder, adapter: EncoderAdapter) -> None:
        merged = lora.merged_weights(encoder, adapter.factors, adapter.alpha)
        self._model: nn.Module = encoder.with_weights(merged)
        encoder.round_below(adapter.rounded_below, self._model)
        self._pad, self._device = encoder.base.pad, encoder.device

    def last_states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Last states float32 (batch, length, width), on the processor."""
        ids, mask = ids.to(self._device), mask.to(self._device)
        return last_states(self._model, ids.masked_fill(~mask, self._pad), mask).to(CPU)


def onnx_installed() -> bool:
    """Whether ONNX Runtime is there."""
    return importlib.util.find_spec("onnxruntime") is not None


def weight_name(name: str) -> bytes:
    """How a graph calls a parameter that is put in when a session is made."""
    return f"[{name}]".encode()


def table_name(name: str) -> bytes:
    """How a graph calls a parameter that is given at each call."""
    return f"[table {name}]".encode()


class Session:
    """A graph with weights, ready to run.

    Args:
        graph: as `onnx_export` writes it.
        weights: float32, on the processor, by the names of the base's parameters; those that the
            graph does not use are left out.
    """

    def __init__(self, graph: bytes, weights: Mapping[str, Tensor], threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._value = value = onnxruntime.OrtValue.ortvalue_from_numpy
        arrays = {name: weight.detach().numpy() for name, weight in weights.items()}
        put_in = [name for name in arrays if weight_name(name) in graph]
        options.add_external_initializers(
            [weight_name(name).decode() for name in put_in], [value(arrays[n]) for n in put_in]
        )
        self._session: Any = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        looked_up = [name for name in arrays if table_name(name) in graph]
        self._memory = [arrays[name] for name in looked_up]  # of the tables, which share it
        self._tables = {table_name(name).decode(): value(arrays[name]) for name in looked_up}

    def run(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Last states float32 (batch, length, width) of ids and mask int64 (batch, length)."""
        given = {"ids": self._value(ids.numpy()), "mask": self._value(mask.numpy())}
        states: Any = self._session.run_with_ort_values(["states"], {**given, **self._tables})[0]
        return torch.from_numpy(np.asarray(states.numpy()))


class OnnxEncoder:
    """A session with the adapter's merged weights."""

    engine = ONNX

    def __init__(self, encoder: Encoder, adapter: EncoderAdapter, threads: int) -> None:
        weights: dict[str, Tensor] = dict(encoder.model.named_parameters())
        weights |= lora.merged_weights(encoder, adapter.factors, adapter.alpha)
        self._session = Session(adapter.graph, weights, threads)
        self._pad = encoder.base.pad

    def last_states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Last states float32 (batch, length, width)."""
        return self._session.run(ids.masked_fill(~mask, self._pad), mask.long())
