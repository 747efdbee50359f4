"""What a state folder of schema version 11 holds; under its code this file wrote version11.tar.gz.

`PYTHONPATH=CHECKOUT:CHECKOUT/tests/turn python tests/turn/version11.py FOLDER`, CHECKOUT being one
of that version: the commit before the modules were merged and renamed.
"""

import json
import queue
import sys
from pathlib import Path

SPOOLED = 12


def spooled(now):
    """Native and foreign events that were acknowledged and not loaded yet, by kind."""
    predictions = [
        {"id": f"s-{n}", "ts": now, "text": f"播放 {n}", "intent": "play_music", "confidence": 0.5}
        for n in range(SPOOLED - 1)
    ]
    predictions.append({"id": "s-11", "ts": now, "text": "none of it", "intent": None})
    verdicts = [
        {"id": f"v-{n}", "prediction_id": f"s-{n}", "ts": now, "verdict": "correct", "rater": "u-1"}
        for n in range(SPOOLED)
    ]
    return {"predictions": predictions, "feedback": verdicts}


def write(folder):
    """Two turns with their decisions, the second on failures of production; and a spool."""
    from wheels import NOW, Parrot, produce_failures, seed_the_wheel, turn_once, wheel_in

    from flywheel import formats
    from flywheel.spool import Spool
    from flywheel.turn import rollback

    wheel = wheel_in(folder, teacher=Parrot())
    seed_the_wheel(wheel)
    turn_once(wheel)
    produce_failures(wheel)
    turn_once(wheel)
    rollback(wheel, None, "uid:7", "it mistakes alarms")
    wheel.store.close()
    spool = Spool(folder / "var" / "spool", 1 << 24)
    for kind, rows in spooled(NOW.isoformat()).items():
        body = "\n".join(json.dumps(row) for row in rows).encode()
        settled = queue.SimpleQueue()
        spool.append(formats.write_body(kind, body, received=NOW).lines, settled.put)
        assert settled.get() is None
    spool.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
