"""Files of adapters: hashed when an adapter is trained, and compared wherever it is used.

An adapter is what was evaluated only as long as its files are those that were trained. Who can
write its folder can change them after the evaluation, so they are compared before and after each
evaluation, before an approval or a rollback is committed, and before the link is moved.
"""

from __future__ import annotations

import logging
from pathlib import Path

from flywheel import files
from flywheel.content import content_id
from flywheel.errors import FlywheelError, Refused
from flywheel.records import Adapter
from flywheel.store import Connection, adapters, decisions
from flywheel.turn.runtime import Runtime

log = logging.getLogger(__name__)

_NAMED = 5  # differing files that are named one by one
MENDED = "put the folder back from a copy, or take another: `flywheel adapters list`"


def trained(folder: Path) -> dict[str, str]:
    """Return the hashes by which an adapter's folder is registered.

    Raises:
        FlywheelError: something in it is no plain file.
    """
    found = files.hashes(folder)
    if odd := files.differences(found, found):
        raise FlywheelError(
            f"adapter {folder.name} cannot be registered: {_shortened(odd)}",
            hint=f"move {folder} away, and start a new turn",
        )
    return found


def problem(adapters_dir: Path, adapter: Adapter) -> str:
    """Return why an adapter's files cannot be trusted; "" when they are those that were trained.

    A production model that is known by its answers has no files.
    """
    if adapter.state == "external":
        return ""
    folder = adapters_dir / adapter.id
    if folder.is_symlink() or not folder.is_dir():
        which = "is a link" if folder.is_symlink() else "has no folder"
        return f"{adapter.id} {which} in {adapters_dir}"
    if not adapter.files:
        return f"the files of {adapter.id} are not recorded yet: the next start records them"
    try:
        changed = files.differences(adapter.files, files.hashes(folder, adapter.files))
    except OSError as error:
        return f"the files of {adapter.id} cannot be read: {error}"
    if not changed:
        return ""
    return f"the files of {adapter.id} are not those that were trained: {_shortened(changed)}"


def not_as_judged(con: Connection, adapter: Adapter) -> str:
    """Return how the registered hashes differ from those that a decision was made on; "": not.

    The chain of decision events covers those of the decision, and not the registry.
    """
    decision, judged = decisions.judged_files(con, adapter.id)
    if not adapter.files or judged in ("", content_id("files", adapter.files)):
        return ""
    return f"the registered files of {adapter.id} are not those that {decision} judged"


def refuse_changed(runtime: Runtime, adapter: Adapter) -> None:
    """Check that an adapter's files are those that were trained.

    Raises:
        Refused: they are not, or its folder is missing; the message names the files.
    """
    if found := problem(runtime.adapters_dir, adapter):
        raise Refused(f"{found}; nothing was changed", hint=MENDED)


def record_unknown(runtime: Runtime) -> list[str]:
    """Record the files of adapters of an earlier version as they are now; return their ids.

    Called once at each start. An adapter whose files are recorded is never recorded again.
    """
    with runtime.store.read() as con:
        unknown = [
            adapter
            for adapter in adapters.list_adapters(con)
            if not adapter.files
            and adapter.state != "external"
            and (runtime.adapters_dir / adapter.id / "flywheel.json").is_file()
        ]
    found = {}
    for adapter in unknown:
        try:
            found[adapter.id] = trained(runtime.adapters_dir / adapter.id)
        except (FlywheelError, OSError) as error:
            log.error(  # noqa: TRY400
                "%s is not recorded: %s", adapter.id, error, extra={"event": "adapter.odd_files"}
            )
    if found:
        with runtime.store.write() as con:
            for name, hashes in found.items():
                adapters.set_files(con, name, hashes)
            because = f"of an earlier version, as they are now: {', '.join(sorted(found))}"
            decisions.record_act(con, "adapter.files.recorded", "start", because, runtime.clock())
    return sorted(found)


def _shortened(changed: list[str]) -> str:
    shown = ", ".join(changed[:_NAMED])
    return shown if len(changed) <= _NAMED else f"{shown} and {len(changed) - _NAMED} more"
