"""Rows and evidence that gate tests start from."""

from dataclasses import replace

from flywheel.gates import Evidence, HygieneFacts, Ledger
from flywheel.records import NONE, Intent, Outcome

ALARM, TIMER, MUSIC = (Intent(name=name) for name in ("set_alarm", "set_timer", "play_music"))


def row(sample, intent="set_alarm", before=True, after=True, **changes):
    """One golden row; `before` and `after` say whether champion and challenger are right."""
    wrong = "set_timer" if intent != "set_timer" else "set_alarm"
    fields = {
        "sample": sample,
        "split": "golden",
        "intent": intent,
        "champion_intent": None if before is None else intent if before else wrong,
        "challenger_intent": None if after is None else intent if after else wrong,
        "champion_correct": before,
        "challenger_correct": after,
        "champion_confidence": 0.9,
        "challenger_confidence": 0.9,
    }
    return Outcome(**{**fields, **changes})


def rows(n, losses=0, gains=0, intent="set_alarm", **changes):
    """n rows, the first of them lost, the next gained, the others right twice."""
    sides = [(True, False)] * losses + [(False, True)] * gains
    sides += [(True, True)] * (n - losses - gains)
    return [
        row(f"{intent}-{changes.get('split', 'golden')}-{i}", intent, *side, **changes)
        for i, side in enumerate(sides)
    ]


def facts(n=100, **changes):
    """Facts of a clean challenger."""
    clean = HygieneFacts(
        sealed_hash="g1",
        current_hash="g1",
        trained_hash="a-2",
        evaluated_hash="a-2",
        chosen_on="dev",
        champion_rows=n,
        challenger_rows=n,
    )
    return replace(clean, **changes)


def evidence(outcomes, intents=(ALARM,), **changes):
    """Evidence that a clean turn would gather."""
    clean = Evidence(
        outcomes=tuple(outcomes),
        hygiene=facts(len(outcomes)),
        ledger=Ledger(generation=1, used=0, capacity=30),
        intents=tuple(intents),
    )
    return replace(clean, **changes)


def better(n=100, gains=20, intent="set_alarm"):
    """Rows of a challenger that is clearly better."""
    return rows(n, 0, gains, intent)


__all__ = [
    "ALARM",
    "MUSIC",
    "NONE",
    "TIMER",
    "better",
    "evidence",
    "facts",
    "row",
    "rows",
]
