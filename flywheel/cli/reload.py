"""`flywheel reload`: the daemon reads its configuration anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from flywheel.cli.command import Json, daemon
from flywheel.cli.screen import raw_json, say
from flywheel.cli.text import clean


def reload(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Have the daemon read config.toml and intents.toml anew.

    What can change does so at once, or when the open turn has ended; [promotion] never waits.
    What needs a restart is named. A file that cannot be used changes nothing. SIGHUP does the same.
    """
    reply = daemon(ctx).post("reload")
    if as_json:
        return raw_json(reply.body)
    told: Mapping[str, Any] = reply.value
    changed, restart, turn = told["changed"], told["restart"], told["waits_for"]
    if not changed and not restart:
        say("nothing has changed")
    at_once = [name for name in changed if not turn or name in told.get("at_once", ())]
    if at_once:
        say("changed:", *(f"  {clean(name)}" for name in at_once))
    if waits := [name for name in changed if name not in at_once]:
        say(f"changes when {clean(turn)} has ended:", *(f"  {clean(name)}" for name in waits))
    if restart:
        say("changes only with a restart (systemctl restart flywheel):")
        say(*(f"  {clean(name)}" for name in restart))
    return None
