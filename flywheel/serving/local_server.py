"""Serving by `flywheel serve` on this machine, told over its Unix socket.

The new adapter is loaded beside the old one and asked for its answers; the switch is made between
two requests. The link `adapters/champion` follows each switch: a server that starts anew reads it,
so that it answers before the daemon has looked at it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flywheel.errors import FlywheelError, NotLoaded, ServingAway
from flywheel.protocols import ServingState
from flywheel.records import ServedAnswer
from flywheel.serving.endpoint import on_socket
from flywheel.serving.link import ChampionLink

_TIMEOUT_S = 30.0  # of an answer; loading a model takes longer
_LOADING_S = 300.0


class LocalServer:
    """The server on a socket, and the link beside it.

    Args:
        adapters_dir: the folder of the adapters.
        socket: of the server.
    """

    immediate = False

    def __init__(self, adapters_dir: Path, socket: Path) -> None:
        self._link = ChampionLink(adapters_dir)
        self._adapters = adapters_dir
        self._server = on_socket(socket, _TIMEOUT_S)
        self._loading = on_socket(socket, _LOADING_S)

    def state(self) -> ServingState:
        """What serves, and by which process; the instance changes with every switch, too."""
        return _state(self._server.get("/v1/serving"))

    def prepare(self, adapter_id: str) -> ServingState:
        """Have the adapter loaded beside the one that serves."""
        state = self.state()
        if adapter_id not in state.loaded:
            for left in set(state.loaded) - {state.adapter}:  # memory for as many as there are is
                self.drop(left)  # not there
        prepared = self._loading.post("/v1/serving/prepare", {"adapter": adapter_id})
        self._refuse_other_rule(adapter_id, prepared)
        return replace(self.state(), engine=str(prepared.get("engine") or ""))

    def ask(self, adapter_id: str, texts: Sequence[str]) -> list[ServedAnswer | None]:
        """Answers of a loaded adapter, through the path of traffic."""
        try:
            return self._server.ask(adapter_id, texts)
        except NotLoaded as error:  # it started anew meanwhile
            raise ServingAway(error.message, hint=error.hint) from error

    def promote(self, adapter_id: str) -> None:
        """Answer with this adapter from the next request on; the link follows."""
        if self.state().adapter != adapter_id:
            self.prepare(adapter_id)
            self._server.post("/v1/serving/switch", {"adapter": adapter_id})
        self._link.promote(adapter_id)

    def retire(self) -> None:
        """Answer with no adapter from the next request on; the link is taken away."""
        self._link.retire()  # first: a server that starts now has none either
        if self.state().adapter is not None:
            self._server.post("/v1/serving/switch", {"adapter": None})

    def drop(self, adapter_id: str) -> None:
        """Let go of an adapter that does not take over."""
        with contextlib.suppress(FlywheelError):
            self._server.post("/v1/serving/drop", {"adapter": adapter_id})

    def serving(self) -> str | None:
        """The adapter that the link names."""
        return self._link.serving()

    def _refuse_other_rule(self, adapter_id: str, prepared: Mapping[str, Any]) -> None:
        """Compare what the server says it answers by with what the adapter was evaluated with.

        What it says proves nothing: its answers are asked all the same. But a threshold that is
        off by less than a text of dev shows is seen here alone.

        Raises:
            NotLoaded: the two differ.
        """
        rule = prepared.get("rule")
        evaluated = _facts(self._adapters / adapter_id)
        for name, used in rule.items() if isinstance(rule, Mapping) else ():
            if name in evaluated and used != evaluated[name]:
                raise NotLoaded(
                    f"it answers by another `{name}` than {adapter_id} was evaluated with: "
                    f"{_shown(used)}, not {_shown(evaluated[name])}"
                )


def _facts(folder: Path) -> Mapping[str, Any]:
    """An adapter's `flywheel.json`; empty where it cannot be read, which the server says itself."""
    try:
        facts = json.loads((folder / "flywheel.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)[:80]


def _state(told: Mapping[str, Any]) -> ServingState:
    adapter = told.get("adapter")
    return ServingState(
        adapter=str(adapter) if adapter else None,
        loaded=tuple(map(str, told.get("loaded") or ())),
        engine=str(told.get("engine") or ""),
        instance=f"{told.get('instance') or ''} {told.get('since') or ''}".strip(),
    )
