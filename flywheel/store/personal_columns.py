"""Where a person's data may stand in the tables: the one list that is deleted by and searched by.

Every text column of the schema is here with what it holds. Its kind says which values of it are a
person's: a deletion removes the rows in which a column of some kind has one, and the proof looks
into the same columns for the same values. A column of words (verdicts, intents, states, names of
adapters and turns) is a person's never, whatever they once said: "PASS" and "none" are texts too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "word",  # of flywheel or of the configuration
    "content",  # follows from the text of its row, and goes with the row
    "audit",  # of the decision log, which is a chain: who decided, why, by which figures
    "prediction",  # id or alias of a prediction
    "names",  # JSON list of those
    "sample",  # id of a sample
    "item",  # of the labelling queue
    "request",  # key of a request to the teacher
    "text",  # what somebody said
    "quoting",  # words in which a text may stand in quotation marks
    "rater",
    "session",
    "slices",  # JSON object, once with the session in it
    "provenance",  # JSON object
    "record",  # JSON document of a turn, by `RECORD`
    "prompt",  # JSON document of a request, by `PROMPT`
    "line",  # a line as it came, in whatever form
]
Action = Literal[
    "delete",  # the row goes
    "unslice",  # the row is a sum of many people's, and loses its session
    "scrub",  # the row stays, and loses the values
    "keep",  # nothing is changed; what is found is told
]

FOUND_BY: Mapping[Kind, str] = {
    "prediction": "list_contains($named, {column})",
    "names": "list_has_any(from_json({column}, '[\"VARCHAR\"]'), $named)",
    "sample": "list_contains($samples, {column})",
    "item": "list_contains($items, {column})",
    "request": "list_contains($requests, {column})",
    "text": "list_contains($texts, {column})",
    "quoting": "list_bool_or(list_transform($quotes, lambda q: contains({column}, q)))",
    "rater": "{column} = $rater",
    "session": "{column} = $session",
    "slices": "json_extract_string({column}, '$.session') = $session",
    "provenance": "list_contains($named, json_extract_string({column}, '$.prediction')) "
    "OR list_contains($samples, json_extract_string({column}, '$.golden')) "
    "OR json_extract_string({column}, '$.rater') = $rater",
}
"""SQL by which a column is a person's; the other kinds are nobody's, or read by Python."""

RECORD: Mapping[str, Kind | Literal["phrase"]] = {
    "briefs.*.failed_texts.*": "text",
    "briefs.*.examples.*": "text",
    "briefs.*.contrast.*": "text",
    "briefs.*.slices.session": "session",
    "noise.ask.*.prediction": "prediction",
    "raters.doubted.*.rater": "rater",
    "held_out.*.*": "sample",
    "changed.wordings.*.learned.*": "text",
    "changed.wordings.*.hosts.*": "text",
    "changed.wordings.*.wording": "phrase",
    "evidence.disputed.*": "sample",
    "evidence.doubted.*": "sample",
    "evidence.met.*": "sample",
    "evidence.learned.*": "sample",
    "evidence.contradicting.*.*": "sample",
    "evidence.hygiene.leaks.*": "quoting",
    "judgement.gates.*.detail": "quoting",
}
"""Paths of `TurnRecord` at which a person's data stands. A phrase is a part of what was said."""

PROMPT: tuple[str, ...] = (
    "messages.*.content.{}.failed_texts.*",
    "messages.*.content.{}.examples.*",
    "messages.*.content.{}.contrast.*",
    "messages.*.content.{}.sentences.*.text",
)
"""Paths of a request to the teacher at which production text stands, redacted or not."""

WORDS: frozenset[str] = frozenset(
    (
        "intent", "verdict", "rater_kind", "kind", "type", "object", "role", "name", "split",
        "origin", "format", "adapter", "model", "arm", "finish_reason", "status", "state", "unit",
        "key", "tools", "function",
    )
)  # fmt: skip
"""Keys of a line, in native and foreign forms, whose values are nobody's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalTable:
    """A table, and what each of its text columns holds."""

    table: str
    action: Action
    columns: Mapping[str, Kind]

    def condition(self) -> str:
        """SQL of the rows that are the person's; "" where no column says it."""
        return " OR ".join(
            FOUND_BY[kind].format(column=column)
            for column, kind in self.columns.items()
            if kind in FOUND_BY and kind != "quoting"
        )


def _place(table: str, columns: str, action: Action = "delete") -> PersonalTable:
    """A place from "column:kind" words; a column without a kind holds words."""
    pairs = [column.partition(":") for column in columns.split()]
    kinds = {name: kind or "word" for name, _, kind in pairs}
    return PersonalTable(table=table, action=action, columns=kinds)  # type: ignore[arg-type]


_JUDGED = (
    "feedback_id prediction_id:prediction text:text predicted predicted_arguments:content adapter "
    "slices:slices verdict intent arguments:content rater:rater rater_kind"
)
_SAMPLE = (
    "id:sample text:text intent arguments:content origin split family slices:slices "
    "provenance:provenance"
)

PLACES: tuple[PersonalTable, ...] = (
    # What production sent.
    _place(
        "predictions",
        "id:prediction text:text intent arguments:content adapter slices:slices calls:content "
        "aliases:names session:session rater:rater tools exchange arm",
    ),
    _place(
        "feedback",
        "id prediction_id:prediction verdict intent arguments:content rater:rater rater_kind "
        "calls:content score",
    ),
    _place("judged", _JUDGED),
    _place("rejudged", _JUDGED),
    _place(
        "scores",
        "id prediction_id:prediction source name kind label:content calls:content rater:rater "
        "rater_kind",
    ),
    _place("aliases", "alias prediction_id:prediction"),
    _place("exchanges", "exchange prediction_id:prediction"),
    _place("superseded", "prediction_id:prediction"),
    _place("champion_answers", "adapter prediction_id:prediction intent arguments:content"),
    _place("daily", "intent adapter slices:slices", "unslice"),
    _place("daily_labels", "predicted truth adapter slices:slices", "unslice"),
    _place("rejected", "kind raw:line field why:content id format encoding"),
    # What is learned from and judged by.
    _place("samples", f"{_SAMPLE} bought_for"),
    _place("refusals", f"turn reason detail:quoting {_SAMPLE}"),
    _place("golden_rows", "sample:sample bought_for"),
    _place("retired_rows", "sample:sample learned_as:sample rule turn"),
    _place("fresh_uses", "sample:sample turn challenger"),
    _place("disputes", "sample:sample actor:audit because:audit"),
    _place("sample_answers", "adapter sample:sample intent arguments:content"),
    _place("evaluated_answers", "adapter sample:sample intent arguments:content"),
    _place(
        "parity_differences",
        "sample:sample what evaluated_intent evaluated_arguments:content served_adapter "
        "served_intent served_arguments:content",
    ),
    _place(
        "outcomes",
        "turn sample:sample split intent champion_intent challenger_intent family slices:slices",
    ),
    _place(
        "labels",
        "item kind prediction:prediction predicted text:text what intent arguments:content "
        "person:rater",
    ),
    _place("label_effects", "item:item intent sample:sample"),
    _place("teacher_answers", "key:request request:prompt response:content turn"),
    # What turns remember.
    _place("turns", "id state trigger decision error cursor:record", "scrub"),
    # The decision log is a chain: what it says cannot be changed. It holds no text, but for a leak
    # that the gate on hygiene quoted.
    _place(
        "decisions",
        "id turn challenger champion verdict gates:quoting intents:audit rests_on:audit",
        "keep",
    ),
    _place("decision_grounds", "decision turn grounds:quoting", "keep"),
    _place(
        "decision_events",
        "decision what status actor:audit because:audit previous hash",
        "keep",
    ),
    # Nothing of anybody's.
    _place("adapters", "id base recipe dataset parent state metrics files", "keep"),
    _place("archives", "kind file", "keep"),
    _place("champions", "adapter decision", "keep"),
    _place("generations", "seal", "keep"),
    _place("golden_queries", "turn challenger gate", "keep"),
    _place("heartbeat", "", "keep"),
    _place("hook_cursors", "hook", "keep"),
    _place("parity_checks", "adapter decision engine instance refused", "keep"),
    _place("redo", "database", "keep"),
    _place("reports", "turn champion challenger", "keep"),
    _place("schedule_slots", "schedule", "keep"),
    _place("schema_version", "name", "keep"),
    _place("score_rules", "source name rule", "keep"),
    _place("source_cursors", "name cursor", "keep"),
    _place("steps", "turn name state detail", "keep"),
    _place("watches", "decision champion earlier salt proposal outcome because", "keep"),
)
