"""A gate of one's own is found by name, and may not pass on nothing."""

import pytest
from gate_cases import better, evidence

from flywheel.config.tables import CustomRule, GatesTable
from flywheel.errors import ConfigError
from flywheel.gates import check, custom_gates, judge
from flywheel.records import GateResult

PASS = "GateResult(gate='anything', verdict='PASS', n=3)"
ANSWERS = {
    PASS: "PASS",
    "GateResult(gate='x', verdict='FAIL', n=3)": "FAIL",
    "GateResult(gate='x', verdict='PASS', n=0)": "INCONCLUSIVE",
    "GateResult(gate='x', verdict='PASS', n=3, value=float('nan'))": "INCONCLUSIVE",
    "GateResult(gate='x', verdict='yes', n=3)": "INCONCLUSIVE",
    "True": "INCONCLUSIVE",
    "None": "INCONCLUSIVE",
    "1 / 0": "INCONCLUSIVE",
}


def own(folder, answer, name="words"):
    (folder / "mine.py").write_text(
        "from flywheel.records import GateResult\n"
        f"def judge(evidence, options):\n    return {answer}\n"
    )
    table = GatesTable(custom={name: CustomRule(plugin="plugins/mine.py")})
    return custom_gates(table, folder)


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_a_plugin_answers_is_held_to_the_rule_of_every_gate(tmp_path, answer):
    judged = judge(evidence(better()), GatesTable(), own(tmp_path, answer))
    said = judged.gate("words")
    assert isinstance(said, GateResult)
    assert said.verdict == ANSWERS[answer]
    assert said.verdict == "PASS" or said.detail or answer.count("FAIL")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1", "offers no `judge`"),
        ("import nothing_of_that_name", "fails on import: ModuleNotFoundError"),
        (None, "no gate is called `mine`"),
    ],
)
def test_a_plugin_that_is_no_gate_stops_the_start(tmp_path, source, said):
    if source is not None:
        (tmp_path / "mine.py").write_text(source)
    table = GatesTable(custom={"words": CustomRule(plugin="mine")})
    with pytest.raises(ConfigError, match=said):
        custom_gates(table, tmp_path)


def test_a_shipped_gate_cannot_be_replaced():
    with pytest.raises(ConfigError, match="takes no plugin"):
        check(GatesTable(custom={"intents": CustomRule(plugin="mine")}))


def test_only_what_is_configured_is_imported(tmp_path):
    (tmp_path / "other.py").write_text("raise SystemExit")
    assert [gate.name for gate in own(tmp_path, PASS)] == ["words"]
