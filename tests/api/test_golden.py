"""`GET /v1/golden`: what the golden set holds, and what deciding takes, before the first turn."""

import json


def give(client, *rows):
    lines = [{"text": text, "intent": intent, "split": "golden"} for text, intent in rows]
    body = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    assert client.post("/v1/samples", content=body.encode()).status_code == 200


def test_an_empty_golden_set_says_what_would_pay(client):
    told = client.get("/v1/golden").json()
    assert (told["rows"], told["contradicting"]) == ({}, [])
    assert (told["pays"], told["pays_each"]) == (80, {"set_alarm": 40, "play_music": 40})
    assert told["pays_turns"] == 30
    ahead = told["ahead"]
    assert (ahead["labels"], ahead["offered"], ahead["turns"]) == (46, 0, None)
    assert ahead["beyond"] == {"set_alarm": 23, "play_music": 23}


def test_rows_are_counted_and_what_traffic_cannot_decide_is_named_with_the_line_that_would(client):
    give(client, *[(f"wake me at {hour}", "set_alarm") for hour in range(40)])
    give(client, ("来点音乐吧", "play_music"))
    told = client.get("/v1/golden").json()
    assert told["rows"] == {"play_music": 1, "set_alarm": 40}
    generation = told["generation"]
    assert (generation["judging"], generation["learned"]) == (41, {})
    assert (generation["queries_left"], generation["next"]["due"]) == (30, False)
    ahead = told["ahead"]
    assert (ahead["beyond"], ahead["turns"]) == ({"play_music": 22}, None)
    assert ahead["group"] == '[gates.intents] groups = { play_music = "few", set_alarm = "few" }'
    assert (ahead["pools"], ahead["not_shown"]) == ([], "")
