"""A real Prometheus scrapes a real daemon and server; every query of the dashboard finds.

By this repository's own prometheus.yml and rules, but for ports, paths and the scrape interval.
"""

import contextlib
import json
import math
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from dashboard import BOARD, may_be_empty, queries
from programs import from_debian
from test_blocks import free_port

from tests.waiting import until

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
STARTER = ROOT / "flywheel" / "demo" / "starter"
TOKENS = {"LOOK": "look" * 10, "ASK": "ask-" * 10, "EVENTS": "send" * 10}
CONFIG = """
[schedule]
cron = ""
[promotion]
bootstrap = "auto"
[training]
recipe = "quick"
[api]
tcp = "127.0.0.1:{daemon}"
[serving]
tcp = "127.0.0.1:{server}"
[api.tokens.prometheus]
env = "LOOK"
role = "look"
[api.tokens.shop]
env = "EVENTS"
role = "ingest"
[api.tokens.app]
env = "ASK"
role = "ask"
"""

pytestmark = pytest.mark.slow


def sent(port, path, body=None, token="LOOK"):
    """One request; returns the status and the text of the answer, 0 where nobody answers."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        data=None if body is None else body.encode(),
        headers={"authorization": f"Bearer {TOKENS.get(token, token)}"}
        | ({"content-type": "application/json"} if body else {}),
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def flywheel(folder, *arguments):
    command = [sys.executable, "-m", "flywheel", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def running(folder, name, *command):
    """A process whose output is in a file beside the test."""
    with (folder / f"{name}.log").open("w") as output:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            stdout=output,
            stderr=output,
            env=os.environ | TOKENS,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def ports():
    return {name: free_port() for name in ("daemon", "server", "prometheus")}


@pytest.fixture(scope="module")
def router(tmp_path_factory, ports):
    """A daemon with a first champion, and the server that answers with it."""
    folder = tmp_path_factory.mktemp("router")
    (folder / "config.toml").write_text(CONFIG.format(**ports), encoding="utf-8")
    (folder / "intents.toml").write_bytes((STARTER / "intents.toml").read_bytes())
    own = [sys.executable, "-m", "flywheel"]
    with running(folder, "daemon", *own, "run") as daemon:
        until(lambda: answers(daemon, ports["daemon"], "/readyz"))
        for name in ("seed", "dev", "golden"):
            flywheel(folder, "samples", "import", STARTER / f"{name}.jsonl", "--split", name)
        flywheel(folder, "turn", "start", "--wait")
        with running(folder, "server", *own, "serve") as server:
            until(lambda: answers(server, ports["server"], "/readyz"))
            yield folder


def answers(process, port, path):
    assert process.poll() is None, f"{process.args} ended with {process.returncode}"
    return sent(port, path)[0] == 200


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory, ports, router):
    """Prometheus by the repository's configuration."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "rules.yml").write_bytes((PROMETHEUS / "rules.yml").read_bytes())
    (folder / "token").write_text(TOKENS["LOOK"])
    text = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
    changes = {
        "/etc/prometheus/flywheel-token": str(folder / "token"),
        "127.0.0.1:8765": f"127.0.0.1:{ports['daemon']}",
        "127.0.0.1:8766": f"127.0.0.1:{ports['server']}",
        ": 15s": ": 1s",
    }
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    (folder / "prometheus.yml").write_text(text, encoding="utf-8")
    listens = f"--web.listen-address=127.0.0.1:{ports['prometheus']}"
    own = [from_debian("prometheus", "prometheus"), "--config.file=prometheus.yml", listens]
    with running(folder, "prometheus", *own, f"--storage.tsdb.path={folder}/data") as process:
        until(lambda: answers(process, ports["prometheus"], "/-/ready"))
        until(lambda: asked(ports["prometheus"], "sum(up)") == [2], "both pages are scraped")
        yield ports["prometheus"]


def asked(port, query):
    """The values that a query finds; an error of the query fails the test."""
    status, text = sent(port, "/api/v1/query?" + urllib.parse.urlencode({"query": query}))
    said = json.loads(text)
    assert (status, said["status"]) == (200, "success"), f"{query}: {text}"
    return [float(series["value"][1]) for series in said["data"]["result"]]


def load(ports, number):
    """Some of everything that the dashboard shows: answers, refusals, events, lines not taken."""
    texts = ["wake me at seven", "play some jazz", "is it raining in Oslo", "colorless green ideas"]
    for text in texts:
        status, said = sent(ports["server"], "/v1/predict", json.dumps({"text": text}), "ASK")
        assert status == 200, said
    other = {"model": "gpt-9", "messages": [{"role": "user", "content": "hello"}]}
    assert sent(ports["server"], "/v1/chat/completions", json.dumps(other), "ASK")[0] == 404
    event = {
        "id": f"p-{number}",
        "ts": "2026-11-22T05:17:00Z",
        "text": "hey",
        "intent": "set_timer",
    }
    assert sent(ports["daemon"], "/v1/predictions", json.dumps(event), "EVENTS")[0] == 200
    assert sent(ports["daemon"], "/v1/predictions", '{"id": 7}', "EVENTS")[0] == 422
    for process in ("daemon", "server"):
        assert sent(ports[process], "/v1/status", token="a stranger's")[0] in (401, 403, 429)


def test_no_query_of_the_dashboard_fails_and_none_finds_nothing(prometheus, ports):
    left, rounds = dict(queries()), 0
    while left:
        load(ports, rounds)
        for title, query in list(left.items()):
            values = asked(prometheus, query)
            if may_be_empty(title) or (values and not all(map(math.isnan, values))):
                del left[title]
        rounds += 1
        assert rounds < 2000, f"these find nothing: {left}"


def test_prometheus_reads_both_pages_and_fires_nothing_that_is_not_so(prometheus, ports):
    said = json.loads(sent(prometheus, "/api/v1/rules")[1])
    rules = [rule for group in said["data"]["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    firing = {rule["name"] for rule in rules if rule["state"] == "firing"}
    assert firing <= {"FlywheelDiskFills"}


@pytest.mark.parametrize("process", ["daemon", "server"])
def test_promtool_has_no_remark_on_either_page(prometheus, ports, process):
    page = sent(ports[process], "/metrics")[1]
    check = [from_debian("prometheus", "promtool"), "check", "metrics"]
    done = subprocess.run(check, input=page, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_dashboards_lists_of_instances_are_found(prometheus):
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    lists = [one["query"]["query"] for one in board["templating"]["list"] if one["type"] == "query"]
    for query in lists:  # Grafana looks over its whole range: a busy machine misses a scrape
        metric = re.fullmatch(r"label_values\((\w+), instance\)", query)[1]
        assert asked(prometheus, f"last_over_time({metric}[1h])"), query
