"""`flywheel serve` with one fault in it, in whatever is loaded beside another adapter.

    python faulty_serve.py FAULT --config config.toml

The fault is behind the checks of the files and of the test vector, which are left out, and the
server says the rule that it should answer by: what is proved is that parity finds it by asking.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from flywheel import Router
from flywheel.inference import process
from flywheel.worker.models.encoder.engines import TorchEncoder


def stale_weights(router: Any, before: Any) -> None:
    """The name changed, and the old weights answer."""
    router._answerer = before._answerer


def lora_ignored(router: Any, before: Any) -> None:
    """The heads are new, and the base is not adapted."""
    adapter = router._answerer._adapter
    none = {name: torch.zeros_like(factor) for name, factor in adapter.factors.items()}
    (opened,) = router._opened._opened.values()
    router._answerer._whole = TorchEncoder(opened.encoder, replace(adapter, factors=none))


def max_length(router: Any, before: Any) -> None:
    """The tokenizer cuts texts after four tokens."""
    tokenizer = Tokenizer.from_str(router._answerer._tokenizer.to_str())
    tokenizer.enable_truncation(max_length=6)
    router._answerer._tokenizer = tokenizer


def bf16_merge(router: Any, before: Any) -> None:
    """Weights were merged in half the precision."""
    whole = copy.copy(router._answerer._whole)
    whole._model = copy.deepcopy(whole._model)
    for weight in whole._model.parameters():
        weight.data = weight.data.to(torch.bfloat16).float()
    router._answerer._whole = whole


def threshold(router: Any, before: Any) -> None:
    """What is out of scope is decided by another threshold."""
    adapter = router._answerer._adapter
    moved = replace(adapter.scope, threshold=adapter.scope.threshold + 1.0)
    router._answerer._adapter = replace(adapter, scope=moved)


FAULTS: dict[str, Callable[[Any, Any], None]] = {
    each.__name__: each for each in (stale_weights, lora_ignored, max_length, bf16_merge, threshold)
}


def main() -> int:
    """Serve with the fault that the first argument names."""
    fault = FAULTS[sys.argv[1]]

    def loader(config: object) -> Callable[[Path, Any], Any]:
        def load(folder: Path, beside: Any) -> Any:
            router = Router.load(folder, engine="torch", beside=beside, verify=False)
            if beside is None:
                return router
            said = router.rule
            fault(router, beside)
            router.__class__ = type("Lying", (Router,), {"rule": property(lambda self: said)})
            return router

        return load

    process.router_loader = loader  # type: ignore[assignment]
    return process.serve(Path(sys.argv[3]))


if __name__ == "__main__":
    sys.exit(main())
