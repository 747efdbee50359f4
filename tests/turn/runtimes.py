"""A runtime with a real store and real files, whose jobs run in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from memoriser import Memoriser

from flywheel import datasets
from flywheel.config import (
    Config,
    FlywheelTable,
    GatesTable,
    IntentsRule,
    OverallRule,
    PromotionTable,
)
from flywheel.protocols import (
    AnswerStore,
    Draft,
    StoredAnswer,
    TeacherAnswer,
)
from flywheel.records import Brief, Feedback, Intent, Prediction, Sample
from flywheel.serving import SERVING
from flywheel.store import events, open_store
from flywheel.turn import Incoming, Runtime, add_samples, request, run_until_idle

NOW = datetime(2026, 11, 22, 5, 17, tzinfo=UTC)
PLAY, ALARM, TIMER = "放音乐", "set_alarm", "set_timer"
WORDS = {
    PLAY: ["我要听歌", "放一首曲子", "来点音乐吧", "播放专辑", "唱给我听", "听点什么"],
    ALARM: ["wake", "morning", "dawn", "sunrise", "rooster", "early"],
    TIMER: ["minutes", "countdown", "egg", "oven", "pasta", "seconds"],
}


@dataclass
class Parrot:
    """A teacher that writes the words of an intent, one purchase a brief."""

    bought: list[str] = field(default_factory=list)

    def write(
        self, briefs: Sequence[Brief], kept: AnswerStore
    ) -> Mapping[str, tuple[TeacherAnswer, ...]]:
        answers = {}
        for brief in briefs:
            stored = kept.get([brief.id]).get(brief.id)
            bought = stored is None
            if stored is None:
                self.bought.append(brief.id)
                kept.put(
                    [
                        StoredAnswer(
                            key=brief.id,
                            request={"intent": brief.intent.name},
                            response={"texts": WORDS.get(brief.intent.name, [])},
                            usd=0.01,
                            input_tokens=10,
                            output_tokens=10,
                        )
                    ]
                )
                stored = kept.get([brief.id]).get(brief.id)
            assert stored is not None
            drafts = tuple(
                Draft(text=f"say {word} now", intent=brief.intent.name)
                for word in stored.response["texts"]
            )
            answers[brief.id] = (
                TeacherAnswer(request=brief.id, drafts=drafts, usd=0.01, bought=bought),
            )
        return answers


def runtime_in(
    folder: Path,
    *,
    teacher: Parrot | None = None,
    share: Literal["auto"] | float = 0.0,
    **tables: Any,
) -> Runtime:
    """Build a runtime over a folder, as the daemon does at start; all golden rows judge, unless
    `share` gives some of them to training."""
    gates = tables.pop(
        "gates",
        GatesTable(overall=OverallRule(profile="fast"), intents=IntentsRule(margin=0.30)),
    )
    config = Config(
        path=folder / "config.toml",
        flywheel=FlywheelTable(state_dir="var"),
        **{
            "gates": replace(gates, share=share),
            "promotion": PromotionTable(mode="auto", bootstrap="auto"),
            **tables,
        },
    )
    config.state_dir.mkdir(exist_ok=True)
    return Runtime(
        config=config,
        intents=tuple(Intent(name=name, description=f"do {name}") for name in WORDS),
        store=open_store(config.state_dir / "flywheel.duckdb"),
        executor=Memoriser(config.state_dir / "jobs"),
        serving=SERVING[config.serving.kind](config),
        teacher=teacher,
        clock=lambda: NOW,
    )


def sample(text: str, intent: str, split: str, **more: Any) -> Incoming:
    origin = "seed" if split == "train" else "person"
    identity = datasets.sample_id(text, intent, None, origin, split)
    return Incoming(
        sample=Sample(id=identity, text=text, intent=intent, origin=origin, split=split, **more)
    )


def seed_runtime(runtime: Runtime, golden: int = 40) -> None:
    """Seeds know the first two words of each intent; golden and dev use all six."""
    rows = []
    for intent, words in WORDS.items():
        rows += [sample(f"{word} seed", intent, "train") for word in words[:2]]
        rows += [
            sample(f"{words[i % 6]} golden{intent}{i}", intent, "golden") for i in range(golden)
        ]
        rows += [sample(f"{words[i % 6]} dev{intent}{i}", intent, "dev") for i in range(6)]
    add_samples(runtime, rows, by="ana")


def produce_failures(
    runtime: Runtime,
    per_word: int = 6,
    *,
    right: Mapping[str, str] = {},
    lacking: slice = slice(2, None),
) -> None:
    """Production texts with words that the seeds lack, and what was really meant."""
    predictions, feedback = [], []
    for intent, words in WORDS.items():
        for word in words[lacking]:
            for i in range(per_word):
                key = f"{intent}-{word}-{i}"
                predictions.append(
                    Prediction(id=key, ts=NOW, text=f"{word} prod{key}", intent="none")
                )
                feedback.append(
                    Feedback(
                        id=f"f-{key}",
                        prediction_id=key,
                        ts=NOW,
                        verdict="corrected",
                        intent=right.get(intent, intent),
                    )
                )
    with runtime.store.write() as con:
        events.add_predictions(con, predictions)
        events.add_feedback(con, feedback)


def two_turns(runtime: Runtime, **seeds: Any) -> tuple[str, str]:
    """A first champion, then a turn over what production got wrong."""
    seed_runtime(runtime, **seeds)
    first = turn_once(runtime)
    produce_failures(runtime)
    return first, turn_once(runtime)


def turn_once(runtime: Runtime, trigger: str = "manual") -> str:
    opened = request(runtime, trigger)
    run_until_idle(runtime)
    return opened.id
