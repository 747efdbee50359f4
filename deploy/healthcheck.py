#!/usr/bin/env python3
"""Exit 0 where the process behind a Unix socket answers: the health check of a container.

flywheel-health /var/lib/flywheel/flywheel.sock
"""

import socket
import sys

_PATIENCE_S = 5.0


def main() -> int:
    """Ask /healthz; returns 0 for a 200, 1 for anything else."""
    try:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(_PATIENCE_S)
            asked.connect(sys.argv[1])
            asked.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            answer = asked.recv(64)
    except OSError as error:
        sys.stderr.write(f"{sys.argv[1]}: {error}\n")
        return 1
    return 0 if b" 200 " in answer else 1


if __name__ == "__main__":
    sys.exit(main())
