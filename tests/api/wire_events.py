"""Events as callers send them."""

import json


def prediction(number, **changes):
    event = {
        "id": f"p-{number}",
        "ts": "2026-11-22T05:17:00Z",
        "text": "我要听音乐",
        "intent": "play_music",
        "arguments": {},
        "confidence": 0.7,
    }
    return event | changes


def verdict(number, **changes):
    event = {
        "id": f"f-{number}",
        "prediction_id": f"p-{number}",
        "ts": "2026-11-22T06:00:00Z",
        "verdict": "corrected",
        "intent": "set_alarm",
        "rater": "u-77",
        "rater_kind": "user",
    }
    return event | changes


def ndjson(*events):
    return b"".join(
        (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n"
        for event in events
    )
