"""Alert rules: each has a case that promtool plays, and reads metrics that there are."""

import json
import re
from pathlib import Path

import pytest
import yaml
from dashboard import BOARD, queries
from metric_names import of_the_daemon, of_the_server
from programs import from_debian, run

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES, CASES = FOLDER / "rules.yml", FOLDER / "rules-test.yml"
METRIC = re.compile(r"\b(?:flywheel|process)_[a-z_]+\b(?!\")")


def alerts():
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@pytest.fixture(scope="module")
def promtool():
    return from_debian("prometheus", "promtool")


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_has_a_case_says_what_is_wrong_and_what_to_do(alert):
    cases = yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]
    assert alert in {case["name"] for case in cases}
    rule = alerts()[alert]
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert set(rule["annotations"]) == {"summary", "action"}


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Of every metric of either process."""
    folder = tmp_path_factory.mktemp
    return of_the_daemon(folder("daemon")) | of_the_server(folder("server"))


def test_rules_read_metrics_that_there_are(names):
    read = {name for rule in alerts().values() for name in METRIC.findall(rule["expr"])}
    assert read - names == set()


def test_the_dashboard_reads_metrics_that_there_are(names):
    read = {name for _, query in queries() for name in METRIC.findall(query)}
    assert read - names == set()
    assert len(read) > 30


def test_panels_of_the_dashboard_have_places_and_numbers_of_their_own():
    every = json.loads(BOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    taken = set()
    for place in (panel["gridPos"] for panel in every):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells


@pytest.mark.slow
def test_the_rules_are_valid_and_tell_of_what_is_wrong_and_of_nothing_else(promtool):
    run(promtool, "check", "rules", RULES)
    run(promtool, "test", "rules", CASES.name, cwd=FOLDER)


@pytest.mark.slow
@pytest.mark.parametrize("alert", alerts())
def test_a_case_fails_where_its_alert_is_silent(promtool, tmp_path, alert):
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for rule in groups["groups"][0]["rules"]:
        if rule["alert"] == alert:
            rule["expr"] = f"({rule['expr']}) and vector(1) == 2"
    (tmp_path / RULES.name).write_text(yaml.safe_dump(groups), encoding="utf-8")
    cases = yaml.safe_load(CASES.read_text(encoding="utf-8"))
    cases["tests"] = [case for case in cases["tests"] if case["name"] == alert]
    (tmp_path / CASES.name).write_text(yaml.safe_dump(cases), encoding="utf-8")
    with pytest.raises(AssertionError, match=alert):
        run(promtool, "test", "rules", CASES.name, cwd=tmp_path)


@pytest.mark.slow
def test_the_example_of_a_configuration_is_valid(promtool, tmp_path):
    text = (FOLDER / "prometheus.yml").read_text(encoding="utf-8")
    token = tmp_path / "flywheel-token"
    token.write_text("t" * 32)
    (tmp_path / RULES.name).write_text(RULES.read_text(encoding="utf-8"), encoding="utf-8")
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("/etc/prometheus/flywheel-token", str(token)), encoding="utf-8")
    run(promtool, "check", "config", config)
