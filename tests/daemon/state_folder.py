"""A folder that a daemon can be started on."""

from pathlib import Path

INTENTS = """
[[intent]]
name = "set_alarm"
description = "Wake the user at a time"

[[intent]]
name = "play_music"
description = "播放音乐"
"""


def write_config(folder: Path, text: str = "") -> Path:
    (folder / "intents.toml").write_text(INTENTS, encoding="utf-8")
    (folder / "config.toml").write_text(text, encoding="utf-8")
    return folder / "config.toml"
