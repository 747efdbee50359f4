"""The bare model: the library's `Router` in a loop, in a process of its own.

    python bare_loop.py ADAPTER ENGINE

A line of standard input is {"do": "single" | "batch" | "answers", "texts": […]}; each is answered
by a line: {"ms": [of each call], "cpu_s": of all, "texts": N}, or {"answers": [[intent,
arguments], …]}.
"""

from __future__ import annotations

import json
import sys
import time

from flywheel import Router

_BATCH = 32


def main() -> None:
    """Load, say which engine answers, and do what is asked until the input ends."""
    router = Router.load(sys.argv[1], engine=sys.argv[2])  # type: ignore[arg-type]
    router.answer_batch(["warm up"] * _BATCH)
    say({"engine": router.engine, "adapter": router.adapter})
    for line in sys.stdin:
        asked = json.loads(line)
        texts = asked["texts"]
        if asked["do"] == "answers":
            answers = router.answer_batch(texts)
            say({"answers": [[each.intent, dict(each.arguments)] for each in answers]})
            continue
        size = 1 if asked["do"] == "single" else _BATCH
        parts = [texts[start : start + size] for start in range(0, len(texts), size)]
        taken, before = [], time.process_time()
        for part in parts:
            began = time.perf_counter()
            router.answer_batch(part)
            taken.append(1000 * (time.perf_counter() - began))
        say({"ms": taken, "cpu_s": time.process_time() - before, "texts": len(texts)})


def say(value: object) -> None:
    """One line of JSON."""
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
