from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flywheel.metrics import IntentPair, Tallies
from flywheel.records import Feedback, Prediction
from flywheel.store import events, health

DAY = timedelta(days=1)
START = datetime(2026, 11, 1, tzinfo=UTC)


def tallies(con, since, until):
    return health.halves(con, since, since, until)[0]


def produce(store, *rows) -> None:
    """Each row: (key, text, predicted, right or None, day of prediction, day of feedback)."""
    with store.write() as con:
        for key, text, predicted, right, made, judged in rows:
            p = Prediction(
                id=key, ts=START + made * DAY, text=text, intent=predicted, slices={"渠道": "语音"}
            )
            events.add_predictions(con, [p])
            if judged is None:
                continue
            verdict = "incorrect" if right is None else "corrected"
            if right == predicted:
                verdict = "correct"
            said = Feedback(
                id=f"f-{key}-{judged}",
                prediction_id=key,
                ts=START + judged * DAY,
                verdict=verdict,
                intent=right,
                rater="u-7",
                rater_kind="expert",
            )
            events.add_feedback(con, [said])


def test_tallies_count_predictions_made_and_labels_given_in_the_period(store):
    produce(
        store,
        ("p-1", "wake me", "alarm", "alarm", 1, 2),
        ("p-2", "wake me up", "alarm", "alarm", 1, 2),
        ("p-3", "timer", "alarm", "timer", 1, 3),
        ("p-4", "hm", "timer", None, 1, 3),
        ("p-5", "later", "timer", "timer", 9, 9),
        ("p-6", "unjudged", "timer", None, 2, None),
    )
    with store.read() as con:
        found = tallies(con, START, START + 5 * DAY)
    assert found == Tallies(
        volume={"alarm": 3, "timer": 2},
        pairs=(
            IntentPair(predicted="alarm", truth="alarm", correct=True, count=2),
            IntentPair(predicted="alarm", truth="timer", correct=False, count=1),
            IntentPair(predicted="timer", truth=None, correct=False, count=1),
        ),
    )


def test_a_prediction_judged_twice_counts_once_when_it_was_last_judged(store):
    produce(
        store,
        ("p-1", "wake me", "alarm", "timer", 1, 2),
        ("p-1", "wake me", "alarm", "alarm", 1, 6),
    )
    with store.read() as con:
        assert tallies(con, START, START + 5 * DAY).pairs == ()
        (later,) = tallies(con, START + 5 * DAY, START + 9 * DAY).pairs
    assert later == IntentPair(predicted="alarm", truth="alarm", correct=True, count=1)


def test_labelled_texts_are_those_whose_right_intent_is_known(store):
    produce(
        store,
        ("p-2", "计时", "alarm", "timer", 2, 3),
        ("p-1", "闹钟", "alarm", "alarm", 1, 3),
        ("p-3", "hm", "alarm", None, 1, 3),
    )
    with store.read() as con:
        first, second = health.labelled_texts(con, ["u-7"])
        assert {row.rater_kind for row in health.labelled_texts(con, ["u-8"])} == {"user"}
    assert first == health.LabelledText(
        prediction_id="p-1",
        text="闹钟",
        intent="alarm",
        arguments={},
        rater="u-7",
        rater_kind="expert",
        ts=START + DAY,
        slices={"渠道": "语音"},
    )
    assert (second.prediction_id, second.intent, second.arguments) == ("p-2", "timer", None)


def test_daily_sums_say_what_the_predictions_say_whatever_the_window_cuts(store):
    moments = [START + timedelta(minutes=47 * n) for n in range(400)]
    made = [
        Prediction(
            id=f"p-{n}",
            ts=moment,
            text="x",
            intent=f"intent_{n % 3}",
            adapter=f"a-{n % 2}",
            slices={"channel": ("voice", "chat")[n % 5 == 0], "locale": "de"},
        )
        for n, moment in enumerate(moments)
    ]
    with store.write() as con:
        events.add_predictions(con, made[:250])
        events.add_predictions(con, made[200:])  # fifty of them again

    def counted(since, until, **scope):
        with store.read() as con:
            return health.halves(con, since, since, until, health.HealthScope(**scope))[0].volume

    def wanted(since, until, keep=lambda p: True):
        kept = [p.intent for p in made if since <= p.ts < until and keep(p)]
        return {name: kept.count(name) for name in sorted(set(kept))}

    for begin, end in [(0, 18000), (13, 1461), (1461, 9333), (5, 900), (1430, 1450), (1440, 2880)]:
        period = START + timedelta(minutes=begin), START + timedelta(minutes=end)
        assert counted(*period) == wanted(*period)
        assert counted(*period, adapter="a-1") == wanted(*period, lambda p: p.adapter == "a-1")
        assert counted(*period, slices={"channel": "voice"}) == wanted(
            *period, lambda p: p.slices["channel"] == "voice"
        )


def test_merging_the_days_changes_no_sum(store, monkeypatch):
    monkeypatch.setattr(events, "_MANY_PARTS", 3)
    with store.write() as con:
        for n in range(6):
            one = Prediction(id=f"p-{n}", ts=START, text="x", intent="stop")
            events.add_predictions(con, [one])
        assert events.merge_daily_sums(con)
        assert not events.merge_daily_sums(con)
        assert con.execute("SELECT count(*), sum(predictions) FROM daily").fetchone() == (1, 6)
        assert tallies(con, START, START + DAY).volume == {"stop": 6}


def test_sums_of_labels_say_what_the_labels_say_whatever_the_window_cuts(store):
    rows = [
        (f"p-{n}", "x", f"intent_{n % 3}", (f"intent_{n % 3}", "other", None)[n % 5 % 3], 0, n / 30)
        for n in range(300)
    ]
    again = [(*row[:3], "mended", 0, row[5] + 2.4) for row in rows[::7]]
    said: dict[str, list] = {}
    made = [Prediction(id=r[0], ts=START, text="x", intent=r[2], adapter=r[0][-1]) for r in rows]
    verdicts = []
    for key, _, predicted, right, _, judged in rows + again:
        said.setdefault(key, []).append((judged, predicted, right))
        verdict = "correct" if right == predicted else "corrected" if right else "incorrect"
        told = {"id": f"f-{key}-{judged}", "ts": START + judged * DAY, "intent": right}
        verdicts.append(Feedback(**told, prediction_id=key, verdict=verdict, rater_kind="user"))
    with store.write() as con:
        events.add_predictions(con, made)
        events.add_feedback(con, verdicts[:200])
        events.add_feedback(con, verdicts[100:])

    def wanted(since, until, last=""):
        counts: dict[IntentPair, int] = {}
        for key, verdicts in said.items():
            latest = max((v for v in verdicts if v[0] >= since), default=(99,))
            if latest[0] >= until or not key.endswith(last):
                continue
            _, predicted, right = latest
            pair = (predicted, right, right == predicted)
            counts[pair] = counts.get(pair, 0) + 1
        return counts

    def found(tallies):
        return {(pair.predicted, pair.truth, pair.correct): pair.count for pair in tallies.pairs}

    windows = [(0.5, 3.25, 9.75), (1, 3, 8), (2.1, 2.2, 2.6), (0, 5.5, 20), (1.9, 2.5, 3.5)]
    for since, middle, until in windows:
        for scope in (health.EVERYTHING, health.HealthScope(adapter="4")):
            moments = [START + at * DAY for at in (since, middle, until)]
            with store.read() as con:
                whole, earlier, recent = health.halves(con, *moments, scope)
            assert found(whole) == wanted(since, until, scope.adapter or "")
            for key, count in found(whole).items():
                assert count == found(earlier).get(key, 0) + found(recent).get(key, 0)
        latest_of_half = wanted(middle, until)
        assert found(recent).keys() <= latest_of_half.keys()
