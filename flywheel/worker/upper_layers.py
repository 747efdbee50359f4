"""The upper layers of an adapter over frozen states: embeddings, and token states for arguments.

Always float32, so that evaluation and serving agree with plain `peft` to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flywheel.worker.encoder import Upper, pool
from flywheel.worker.frozen_states import Report, length_batches, padded_states


@dataclass(frozen=True, slots=True)
class Finished:
    """What the adapted encoder makes of n texts."""

    embedding: Tensor  # float32 (n, width), of length one
    tokens: list[Tensor]  # n × float32 (length, width); empty unless asked for


@torch.inference_mode()
def finish(
    upper: Upper,
    width: int,
    hidden: Sequence[Tensor],
    *,
    tokens: bool = False,
    report: Report = lambda _: None,
) -> Finished:
    """Run the upper layers over frozen states.

    Args:
        upper: with LoRA merged.
        width: of its states.
        hidden: n × float16 (length, width), states below its lowest layer, or token ids.
        tokens: keep the token states too; they cost 1.5 kB a token.
    """
    embedding = torch.zeros(len(hidden), width)
    kept: list[Tensor] = [torch.zeros(0)] * len(hidden) if tokens else []
    done = 0
    for rows in length_batches(hidden):
        x, mask = padded_states([hidden[i] for i in rows], torch.float32, whole=True)
        top = upper.run(x, mask)
        embedding[rows] = pool(top, mask)[: len(rows)]
        if tokens:
            for row, states in zip(rows, top, strict=False):
                kept[row] = states[: len(hidden[row])].clone()
        done += len(rows)
        report(done / len(hidden))
    return Finished(embedding, kept)
