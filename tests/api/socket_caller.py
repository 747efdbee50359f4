"""An application as a caller on its Unix socket meets it."""

import os

from flywheel.web.peer import UID


def through_socket(app):
    """The application; the kernel told it the caller's uid."""

    async def asked(scope, receive, send):
        await app({**scope, UID: os.getuid()}, receive, send)

    return asked
