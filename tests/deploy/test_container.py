"""The image file and compose.yaml: what they promise, and what linters say. No engine runs them."""

import json
import shutil
import socketserver
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from programs import COMPOSE, HADOLINT, from_pypi, run

DEPLOY = Path(__file__).parents[2] / "deploy"
CONTAINERFILE, HEALTH = DEPLOY / "Containerfile", DEPLOY / "healthcheck.py"


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]


def test_both_services_share_the_state_and_nothing_else_can_be_written(services):
    assert set(services) == {"daemon", "server"}
    for service in services.values():
        assert service["volumes"] == ["state:/var/lib/flywheel", "./etc:/etc/flywheel:ro"]
        assert service["read_only"] is True


def test_neither_is_root_or_can_become_it(services):
    for service in services.values():
        assert service["user"] == "10001:10001"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    last = [line for line in CONTAINERFILE.read_text().splitlines() if line.startswith("USER")][-1]
    assert last == "USER 10001:10001"


def test_each_is_asked_for_its_health_over_its_own_socket(services):
    asked = {name: service["healthcheck"]["test"][-1] for name, service in services.items()}
    folder = "/var/lib/flywheel"
    assert asked == {"daemon": f"{folder}/flywheel.sock", "server": f"{folder}/serve.sock"}


def test_the_server_waits_for_no_daemon_and_each_is_reached_from_this_machine_alone(services):
    assert not any("depends_on" in service for service in services.values())
    ports = [port for service in services.values() for port in service["ports"]]
    assert ports == ["127.0.0.1:8765:8765", "127.0.0.1:8766:8766"]


class Answering(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(1000)
        self.request.sendall(self.server.answer)


@pytest.mark.parametrize(
    ("answer", "code"),
    [(b"HTTP/1.1 200 OK\r\n\r\nok\n", 0), (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 1)],
)
def test_healthy_is_what_answers_200(tmp_path, answer, code):
    with socketserver.UnixStreamServer(str(tmp_path / "s"), Answering) as server:
        server.answer = answer
        threading.Thread(target=server.handle_request).start()
        assert (
            subprocess.run([sys.executable, HEALTH, tmp_path / "s"], check=False).returncode == code
        )


def test_a_socket_where_nobody_answers_is_not_healthy(tmp_path):
    asked = subprocess.run(
        [sys.executable, HEALTH, tmp_path / "none"], check=False, capture_output=True, text=True
    )
    assert asked.returncode == 1
    assert "No such file" in asked.stderr


@pytest.mark.slow
def test_the_image_file_is_clean_to_its_linter():
    assert run(from_pypi(*HADOLINT), "--failure-threshold", "style", CONTAINERFILE) == ""


@pytest.mark.slow
def test_the_linter_would_tell(tmp_path):
    (tmp_path / "Containerfile").write_text("FROM python\nUSER root\nRUN cd /x && sudo ls\n")
    with pytest.raises(AssertionError, match="DL3002"):
        run(from_pypi(*HADOLINT), tmp_path / "Containerfile")


@pytest.mark.slow
def test_compose_reads_its_file_by_its_own_schema(tmp_path):
    compose = from_pypi(*COMPOSE)
    said = json.loads(_config(compose, DEPLOY / "compose.yaml"))
    assert set(said["services"]) == {"daemon", "server"}
    assert set(said["volumes"]) == {"state"}
    shutil.copy(DEPLOY / "compose.yaml", tmp_path)
    text = (tmp_path / "compose.yaml").read_text().replace("cap_drop", "cap_dropped")
    (tmp_path / "compose.yaml").write_text(text)
    with pytest.raises(AssertionError, match="cap_dropped"):
        _config(compose, tmp_path / "compose.yaml")


def _config(compose, file):
    return run(compose, "-f", file, "config", "--format", "json")
