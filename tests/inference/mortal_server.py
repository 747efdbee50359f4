"""Logs and delivers answers as the inference process does, and ends itself by SIGKILL.

`mortal_server.py FOLDER SOCKET NAME N`: before its N-th operation on files or on the socket; a
write is half done then. It prints the ids of answers once they are logged.
"""

import http.client
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from answer_lines import answer_line, verdict_line

from flywheel.inference.answer_log import AnswerLog
from flywheel.inference.delivery import Delivery

OPERATIONS = (
    (os, "write"),
    (os, "fdatasync"),
    (os, "fsync"),
    (os, "open"),
    (os, "unlink"),
    (os, "rename"),
    (os, "replace"),
    (http.client.HTTPConnection, "request"),
    (http.client.HTTPConnection, "getresponse"),
    (http.client.HTTPResponse, "read"),
)


def count_down(left):
    """End this process before that many more operations."""

    def mortal(real, name):
        def operation(*arguments, **options):
            nonlocal left
            left -= 1
            if left <= 0:
                if name == "write":
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return operation

    for owner, name in OPERATIONS:
        setattr(owner, name, mortal(getattr(owner, name), name))


def main(folder, socket, name, lives):
    said = os.dup(1)
    tell = os.write
    if lives:
        count_down(lives)
    log = AnswerLog(Path(folder), 1 << 20, segment_bytes=600)
    delivery = Delivery(log, Path(socket))
    for number in range(6):
        answer = f"{name}-{number}"
        log.write([answer_line(answer), answer_line(f"{answer}b")])
        tell(said, f"{answer}\n{answer}b\n".encode())
        if number % 2:
            log.write([verdict_line(f"f-{answer}", answer)], "feedback")
            tell(said, f"f-{answer}\n".encode())
            delivery.deliver()
    log.close()
    if not delivery.deliver():
        raise SystemExit(f"not delivered: {delivery.state()}")


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
