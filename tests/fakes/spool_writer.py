"""Writes to a spool as a request does, and waits until it is on disk."""

import threading


def append_and_wait(spool, lines):
    """Lines that are on disk when it returns."""
    told = threading.Event()
    errors = []

    def done(error):
        errors.append(error)
        told.set()

    spool.append(lines, done)
    told.wait()
    if errors[0] is not None:
        raise errors[0]
