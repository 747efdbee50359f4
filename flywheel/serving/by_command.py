"""Serving by a command of yours: it is called with what to do, and a URL is asked for the proof.

`COMMAND prepare ADAPTER FOLDER` makes the adapter answer at the URL, where a request names it in
the header `x-flywheel-adapter`; traffic stays where it is. `COMMAND switch ADAPTER FOLDER` gives it
the traffic, `COMMAND drop ADAPTER FOLDER` lets go of one that did not pass, and `COMMAND retire`
takes the last one away. Each may be called again for the same adapter. Exit 0: done; 75: try again
later; anything else: this adapter cannot be loaded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from flywheel import programs
from flywheel.errors import FlywheelError, NotLoaded, ServingAway
from flywheel.protocols import ServingState
from flywheel.records import ServedAnswer
from flywheel.serving.endpoint import at_url
from flywheel.serving.link import ChampionLink

LATER = 75
"""The exit status that says so, EX_TEMPFAIL of sysexits.h."""

_TIMEOUT_S = 600.0
_ANSWER_S = 30.0
_SHOWN = 200  # characters of what it wrote to its error output


class CommandServing:
    """The command, the endpoint that proves it, and the link beside them.

    Args:
        adapters_dir: the folder of the adapters.
        command: program and first arguments.
        url: below which `/v1/predict` is asked.
        token: sent as a bearer token; "" for none.
        command_env: names of variables that the command gets beside the usual ones.
    """

    immediate = False

    def __init__(
        self,
        adapters_dir: Path,
        command: Sequence[str],
        url: str,
        token: str = "",
        command_env: Sequence[str] = (),
    ) -> None:
        self._link = ChampionLink(adapters_dir)
        self._adapters = adapters_dir
        self._command = tuple(command)
        self._command_env = tuple(command_env)
        self._endpoint = at_url(url, token, _ANSWER_S)

    def state(self) -> ServingState:
        """The adapter that the command switched to last; of the process nothing is known."""
        return ServingState(adapter=self._link.serving())

    def prepare(self, adapter_id: str) -> ServingState:
        """Have the command load it."""
        self._call("prepare", adapter_id)
        return self.state()

    def ask(self, adapter_id: str, texts: Sequence[str]) -> list[ServedAnswer | None]:
        """Answers of the adapter at the URL."""
        try:
            return self._endpoint.ask(adapter_id, texts)
        except NotLoaded as error:
            raise ServingAway(error.message, hint=error.hint) from error

    def promote(self, adapter_id: str) -> None:
        """Have the command switch; the link follows."""
        if self._link.serving() != adapter_id:
            self._call("switch", adapter_id)
        self._link.promote(adapter_id)

    def retire(self) -> None:
        """Have the command take the last adapter away."""
        if self._link.serving() is not None:
            self._run(["retire"])
        self._link.retire()

    def drop(self, adapter_id: str) -> None:
        """Have the command let go of an adapter that did not take over."""
        with contextlib.suppress(FlywheelError):
            self._call("drop", adapter_id)

    def serving(self) -> str | None:
        """The adapter that the link names."""
        return self._link.serving()

    def _call(self, what: str, adapter_id: str) -> None:
        self._run([what, adapter_id, str(self._adapters / adapter_id)])

    def _run(self, arguments: Sequence[str]) -> None:
        named = f"{self._command[0]} {' '.join(arguments[:2])}"
        try:
            finished = programs.run(
                [*self._command, *arguments], timeout_s=_TIMEOUT_S, also=self._command_env
            )
        except OSError as error:
            raise ServingAway(f"{named}: {error}") from error
        if finished.code == 0:
            return
        kind = ServingAway if finished.code == LATER else NotLoaded
        raise kind(f"{named} ended with {finished.code}", hint=finished.said[-_SHOWN:])
