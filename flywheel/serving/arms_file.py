"""Which two adapters answer beside each other: a file that `flywheel serve` follows.

It names the champion that it is meant for. So it is written before that one takes over, and means
nothing to a server that answers with another.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

from flywheel import files
from flywheel.promotion import ArmPlan

log = logging.getLogger(__name__)

_NAME = "arms.json"


def publish(state_dir: Path, plan: ArmPlan | None) -> None:
    """Have this plan followed from now on; None: the champion answers alone. Durable."""
    path = state_dir / _NAME
    if plan == planned(state_dir):
        return
    if plan is None:
        path.unlink(missing_ok=True)
        files.sync(state_dir)
    else:
        files.write_json(path, asdict(plan))


def planned(state_dir: Path) -> ArmPlan | None:
    """The plan; None where there is none, or none that can be read."""
    try:
        said = json.loads((state_dir / _NAME).read_text(encoding="utf-8"))
        return ArmPlan(**{**said, "share": float(said["share"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.error("%s cannot be read: %s", _NAME, error, extra={"event": "arms.unreadable"})  # noqa: TRY400
        return None
