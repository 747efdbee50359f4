"""The people of one run: who answers the labelling queue, and who reviews decisions.

They use what people have: `/v1/labels` and the decision as `review show` prints it. The labeller
knows the right intent of every production text, reads what is asked in the order in which it is
asked, and reads no more than a budget. What was read is the cost, found or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from daemon_harness import RunningDaemon
from partition import Row

from flywheel.curation import normalise
from flywheel.records import NONE

MACHINES = ("gates", "bootstrap")
_SESSION = 200  # items that the queue is asked for
_ROUNDS = 8  # of labelling for one held decision


@dataclass(slots=True)
class Labeller:
    """One person with the truth and a budget of texts a turn."""

    truth: Mapping[str, str]  # right intent by text
    a_turn: int  # texts
    known: set[str]  # intents that can be named today
    read: int = 0  # texts, in the whole run
    given: list[Row] = field(default_factory=list)  # labels, for the baselines
    _left: int = 0
    _normal: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._normal = {normalise(text): intent for text, intent in self.truth.items()}

    def new_turn(self) -> None:
        """What was not read in the last turn is not added."""
        self._left = self.a_turn

    def before_turn(self, daemon: RunningDaemon) -> None:
        """A third of the budget on what the queue asks first, before anything is trained."""
        self._answer(daemon, min(self._left, self.a_turn // 3))

    def after_turn(self, daemon: RunningDaemon) -> None:
        """What is left of the budget on whatever the queue asks."""
        self._answer(daemon, self._left)

    def until_decided(self, daemon: RunningDaemon, turn: str) -> None:
        """Wait for the turn; give the labels that it is held for, while there are any to give and
        while there is budget."""
        for _ in range(_ROUNDS):
            view = daemon.wait_for(turn)
            wants = view["state"] == "held" and view.get("labels_wanted")
            if not wants or not self._answer(daemon, self._left, kind="gate"):
                return

    def _answer(self, daemon: RunningDaemon, most: int, **only: str) -> int:
        """Answer up to `most` items; returns how many labels were kept."""
        if most <= 0:
            return 0
        kept = 0
        asked = daemon.get("labels", limit=str(_SESSION), **only)["items"]
        for item in asked[:most]:
            intent = self._normal.get(normalise(item["text"]), NONE)
            skipped = intent not in self.known
            daemon.post("labels", item=item["item"], intent=None if skipped else intent)
            self.read += 1
            self._left -= 1
            if not skipped:
                kept += 1
                self.given.append(Row(item["text"], intent))
        if kept:
            daemon.post("labels", "settle")
        return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What the reviewer did about a decision."""

    promoted: bool = False
    by_gates: bool = False  # every gate passed: in mode auto nobody would have been asked
    offered: bool = False  # review show offered an approval without an override
    now: bool = False  # promoted by this word, and not by an earlier one

    def after(self, earlier: Word) -> Word:
        """Both words as one turn's; the offer is that of the later one."""
        return replace(
            self,
            promoted=self.promoted or earlier.now,
            by_gates=(self.promoted and self.by_gates) or (earlier.now and earlier.by_gates),
            now=self.now or earlier.now,
        )


def review(daemon: RunningDaemon, view: Mapping[str, Any], truth: Mapping[str, str]) -> Word:
    """Approve what the decision recommends, and nothing else.

    Recommended is: what passed the gates; a first champion without a failed gate; and a hold that
    the daemon leaves to a person where the gain is proven (`overall` PASS), no gate failed, and no
    gate has to be overridden. Where texts have to be looked at, it is approved only if what few
    raters taught is right.
    """
    if not view["decision"]:
        return Word()
    decision = daemon.get("decisions", view["decision"])
    if decision["status"] != "pending":
        applied = decision["status"] == "applied"
        return Word(promoted=applied, by_gates=applied and decision["by"] in MACHINES)
    approvals = [each for each in decision["offers"] if each["do"] == "approve"]
    free = [each for each in approvals if not each.get("override")]
    passed = decision["verdict"] == "promote"
    if not free or not (passed or _left_to_a_person(decision)) or _taught_wrong(decision, truth):
        return Word(offered=bool(free))
    more = {"looked": free[0]["looked"]} if free[0].get("looked") else {}
    because = "recommended; looked at the examples"
    answer = daemon.post("decisions", decision["id"], "approve", because=because, **more)
    applied = answer["status"] == "applied"
    return Word(promoted=applied, by_gates=applied and passed, offered=True, now=applied)


def _left_to_a_person(decision: Mapping[str, Any]) -> bool:
    verdicts = {gate["gate"]: gate["verdict"] for gate in decision["gates"]}
    if "FAIL" in verdicts.values():
        return False
    return decision["champion"] is None or verdicts.get("overall") == "PASS"


def _taught_wrong(decision: Mapping[str, Any], truth: Mapping[str, str]) -> bool:
    """Whether a wording that turns other texts was taught by texts of another intent."""
    gate = next((g for g in decision["gates"] if g["gate"] == "changed_answers"), None)
    if gate is None or gate["verdict"] == "PASS":
        return False
    return any(
        truth.get(text, wording["intent"]) != wording["intent"]
        for wording in decision["changed"]["wordings"]
        if wording["turned"]
        for text in wording["learned"]
    )
