"""A tiny data set of eight intents, and the spec of a job that trains on it."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TEXTS = {
    "play_music": ["play some jazz", "put on a song by adele", "i want to hear rock music",
                   "start my workout playlist", "music please, something calm"],
    "set_alarm": ["wake me at seven", "set an alarm for noon", "alarm at six tomorrow",
                  "get me up at five thirty", "i need to be woken at nine"],
    "weather": ["will it rain today", "how hot is it outside", "weather in paris",
                "do i need an umbrella", "is it going to snow tonight"],
    "balance": ["how much money do i have", "what is my account balance", "check my savings",
                "show the funds in my account", "tell me my bank balance"],
    "translate": ["say hello in french", "translate dog to spanish",
                  "how do you say bread in german", "what is water in italian",
                  "translate this to english"],
    "joke": ["tell me a joke", "make me laugh", "say something funny",
             "do you know any jokes", "i could use a good laugh"],
    "call": ["call my mother", "phone john please", "ring the office",
             "dial my brother", "make a call to anna"],
    "none": ["asdf qwerty", "我要听音乐", "the sky was a deep green thought",
             "seven plus blue", "why is a raven like a writing desk"],
}  # fmt: skip
DEV = {
    "play_music": ["play a song", "put on some music"],
    "set_alarm": ["set an alarm for eight", "wake me up at ten"],
    "weather": ["is it raining", "weather tomorrow"],
    "balance": ["what's my balance", "money in my account"],
    "translate": ["translate cat to french", "say goodbye in spanish"],
    "joke": ["tell a joke", "another joke please"],
    "call": ["call dad", "phone my wife"],
    "none": ["你好吗", "purple monkey dishwasher"],
}
TIMES = {"wake me at seven": "seven", "set an alarm for noon": "noon",
         "alarm at six tomorrow": "six", "get me up at five thirty": "five thirty",
         "i need to be woken at nine": "nine"}  # fmt: skip
COLUMNS = ["id", "text", "intent", "arguments", "split", "origin", "weight", "family"]


def dataset(path: Path, *, learn_dev: bool = False) -> Path:
    """Write the tiny dataset as the daemon would."""
    rows: list[dict[str, Any]] = []
    for split, texts in (("train", TEXTS), ("dev", DEV)):
        for intent, lines in texts.items():
            for line in lines:
                values = {"time": TIMES[line]} if line in TIMES else None
                if intent not in ("set_alarm", "none"):
                    values = {}
                rows.append({
                    "id": f"s-{len(rows):03}", "text": line, "intent": intent, "split": split,
                    "arguments": json.dumps(values) if values is not None else None,
                    "origin": "seed", "weight": float(split == "train" or learn_dev), "family": "",
                })  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows).select(COLUMNS), path)
    return path


def spec(folder: Path, *, learn_dev: bool = False, **changes: Any) -> dict[str, Any]:
    """A train job's spec over the tiny dataset."""
    told = {
        "base": "bundled:all-minilm-l6-v2", "threads": 1, "max_length": 32, "seed": 0,
        "cache_dir": str(folder / "cache"), "recipe": "balanced",
        "dataset": str(dataset(folder / "ds-tiny.parquet", learn_dev=learn_dev)),
        "intents": [{"name": n, "arguments": ["time"] if n == "set_alarm" else []} for n in TEXTS],
        "parent": None, "code_version": "0", "created_at": "2026-11-22T05:17:00Z",
    }  # fmt: skip
    return told | changes
