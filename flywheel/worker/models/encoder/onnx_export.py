"""The graph of an encoder for ONNX Runtime: exported once a base, without any weight.

The weights are the adapter's and the base's own tensors, put in when a session is made, so the
file is 0.1 MB and the same for every adapter on a base. It is written into the adapter's folder
and registered by its hash like every file there.

The exporter is torch's older one: it needs `onnx` alone, takes a second, and keeps the names of
the parameters. Tables that are only looked up in become inputs, so that sessions share them.

Source: docs/adr/0084-engines.md
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flywheel import files
from flywheel.worker.models.base import Base
from flywheel.worker.models.encoder.engines import Session, table_name, weight_name
from flywheel.worker.models.encoder.layers import Encoder, last_states

_OPSET = 17
_AGREE = 2e-3  # largest difference of a state between graph and torch: two steps of float16
_PREFIX = "model."  # of parameters in the exported module
_SHAPES = ((2, 7), (3, 12), (1, 4))  # batch, length: the first is traced, all are compared


class _Traced(nn.Module):
    """The model as a function of two tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return last_states(self.model, ids, mask.bool())


def exportable() -> bool:
    """Whether the packages are installed with which a graph is exported and tried."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


def graph(encoder: Encoder, rounded_below: int, cache: Path | None) -> bytes:
    """The graph for an encoder's architecture; b"" where it cannot be exported.

    Args:
        rounded_below: layer whose input is rounded to float16; 0 for none.
        cache: folder in which exported graphs are kept by everything they depend on.
    """
    if not exportable():
        return b""
    kept = cache / "graphs" / f"{_key(encoder.base, rounded_below)}.onnx" if cache else None
    if kept is not None and kept.is_file():
        return kept.read_bytes()
    exported = _export(encoder, rounded_below)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(kept, durable=False) as staged:
            staged.write_bytes(exported)
    return exported


def _key(base: Base, rounded_below: int) -> str:
    import onnx
    import transformers

    versions = (torch.__version__, transformers.__version__, onnx.__version__, _OPSET)
    of = (base.sha256, sorted(base.config.items(), key=str), rounded_below, versions)
    return hashlib.sha256(repr(of).encode()).hexdigest()[:32]


def _export(encoder: Encoder, rounded_below: int) -> bytes:
    """The graph, when it gives what torch gives; b"" when it does not, or cannot be made."""
    model = encoder.with_weights({}).to("cpu")
    encoder.round_below(rounded_below, model)
    traced = _Traced(model).eval()
    try:
        exported = _without_weights(_trace(traced), dict(traced.named_parameters()))
        weights = dict(model.named_parameters())
        if not all(weight_name(name) in exported for name in encoder.linear_weights(0)):
            return b""  # the exporter took equal weights for one
        session = Session(exported, weights, threads=1)
        with torch.inference_mode():
            for shape in _SHAPES:
                ids, mask = _sample(*shape)
                off = session.run(ids, mask) - traced(ids, mask)
                if not float(off[mask.bool()].abs().max()) < _AGREE:
                    return b""
    except Exception:  # noqa: BLE001  each family fails in its own way; torch answers then
        return b""
    return exported


def _trace(traced: nn.Module) -> bytes:
    """An ONNX model with its weights."""
    written: Any = io.BytesIO()  # which its annotations do not name
    ids, mask = _sample(*_SHAPES[0])
    axes = {name: {0: "batch", 1: "length"} for name in ("ids", "mask", "states")}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            traced,
            (ids, mask),
            written,
            dynamo=False,
            opset_version=_OPSET,
            do_constant_folding=False,  # a folded weight would no longer be the adapter's
            dynamic_axes=axes,
            input_names=["ids", "mask"],
            output_names=["states"],
        )
    traced.eval()  # the exporter may leave it training
    exported: bytes = written.getvalue()
    return exported


def _without_weights(exported: bytes, parameters: Mapping[str, Tensor]) -> bytes:
    """The model with every parameter named and none held."""
    import onnx

    model: Any = onnx.load_model_from_string(exported)
    nodes, kept = model.graph.node, []
    for tensor in model.graph.initializer:
        name = tensor.name
        if name not in parameters:
            kept.append(tensor)
            continue
        readers = {node.op_type for node in nodes if name in node.input}
        named = table_name if readers == {"Gather"} else weight_name
        own = named(name.removeprefix(_PREFIX)).decode()
        for node in nodes:
            for place, given in enumerate(node.input):
                if given == name:
                    node.input[place] = own
        if readers == {"Gather"}:
            shape = list(tensor.dims)
            table = onnx.helper.make_tensor_value_info(own, tensor.data_type, shape)
            model.graph.input.append(table)
            continue
        size = parameters[name].numel() * parameters[name].element_size()
        tensor.ClearField("raw_data")
        tensor.name, tensor.data_location = own, onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in (("location", "the adapter"), ("offset", 0), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
        kept.append(tensor)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    serialized: bytes = model.SerializeToString()
    return serialized


def _sample(batch: int, length: int) -> tuple[Tensor, Tensor]:
    """Ids int64 and mask int64, both (batch, length); all rows but the first are padded."""
    ids = torch.arange(5, 5 + batch * length).view(batch, length)
    mask = torch.ones(batch, length, dtype=torch.int64)
    for row in range(1, batch):
        mask[row, length - 2 * row :] = 0
    return ids, mask
