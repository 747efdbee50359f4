"""A daemon as a process of its own, met over its socket."""

import contextlib
import json
import socket

from flywheel.unix_socket import UnixConnection
from tests.waiting import CEILING_S

QUIET = '[schedule]\ncron = ""\n'


def ask(folder, method, path, body=None):
    """(status, JSON or text) of one request over the daemon's socket; bytes go as they are."""
    connection = UnixConnection(folder / "var" / "flywheel.sock", CEILING_S)
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body)
    with contextlib.closing(connection):
        connection.request(method, path, body)
        answer = connection.getresponse()
        text = answer.read().decode()
    is_json = answer.headers.get_content_type() == "application/json"
    return answer.status, json.loads(text) if is_json else text


class Manager:
    """A service manager's ear: the messages of sd_notify, in order."""

    def __init__(self, path):
        self.path = path
        self.receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.receiver.bind(str(path))
        self.heard = []

    def wait_for(self, word):
        """Listen until a message begins with the word."""
        self.receiver.settimeout(CEILING_S)
        while not any(message.startswith(word) for message in self.heard):
            self.heard.append(self.receiver.recv(1000).decode())

    def rest(self):
        self.receiver.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard.append(self.receiver.recv(1000).decode())
        return [message.splitlines()[0] for message in self.heard]
