"""A worker without torch: a process over a job's folder, whose model is a count of words.

`plain_worker.py FOLDER`; a file `FOLDER/../../die-KIND-MOMENT` kills it there, once; a named pipe
`FOLDER/../../hold-KIND` holds it until somebody opens the pipe to write.
"""

import json
import os
import signal
import sys
from pathlib import Path

from memoriser import Memoriser


def main(folder: Path) -> None:
    told = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    kind = told["kind"]
    die_if_told(folder, kind, "before")
    hold = folder.parent.parent / f"hold-{kind}"
    if hold.exists():
        hold.open("rb").close()
    values = getattr(Memoriser(folder.parent), f"_{kind}")(folder, told["spec"])
    die_if_told(folder, kind, "in")
    staged = folder / "result.tmp"
    result = {"id": told["id"], "ok": True, "values": values, "error": "", "seconds": 0.1}
    staged.write_text(json.dumps(result), encoding="utf-8")
    staged.replace(folder / "result.json")
    die_if_told(folder, kind, "after")


def die_if_told(folder: Path, kind: str, moment: str) -> None:
    order = folder.parent.parent / f"die-{kind}-{moment}"
    if order.exists():
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
