"""Lines as the inference process logs them."""

import json


def answer_line(answer_id, **changes):
    event = {"id": answer_id, "ts": "2026-11-22T05:17:00Z", "text": "wake me at seven"}
    more = {"intent": "set_alarm", "arguments": {}, "adapter": "a-1", "confidence": 0.9}
    return json.dumps(event | more | changes).encode()


def verdict_line(verdict_id, prediction_id):
    event = {"id": verdict_id, "prediction_id": prediction_id, "ts": "2026-11-22T06:00:00Z"}
    return json.dumps(event | {"verdict": "correct", "rater": "u-1"}).encode()
