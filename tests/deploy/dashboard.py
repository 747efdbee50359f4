"""The queries of the dashboard, as Grafana sends them."""

import json
from collections.abc import Iterator
from pathlib import Path

BOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "flywheel.json"
_VARIABLES = {"$daemon": ".+", "$server": ".+", "$__rate_interval": "1m"}


def panels():
    """Every panel that shows something."""
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Each query by the panel's title and the query's letter; variables have their values."""
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"]
            for name, value in _VARIABLES.items():
                query = query.replace(name, value)
            yield f"{panel['title']} {target['refId']}", query


def may_be_empty(title):
    """Whether a query may find nothing under the tests' load: only that of alerts."""
    return title == "Alerts A"
