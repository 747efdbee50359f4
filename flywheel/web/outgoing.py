"""Requests that carry a token go to the address that the configuration names, and to no other.

`urllib` would follow a redirect with all headers, so whoever answers at that address, or on the way
to it, could send the token where it likes.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import HTTPResponse
from typing import Any, cast


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        said = "it redirects, which is not followed: name the last address in the configuration"
        raise urllib.error.HTTPError(req.full_url, code, said, headers, fp)


_OPENER = urllib.request.build_opener(_NoRedirect)


def send(
    url: str, *, timeout_s: float, token: str = "", body: bytes | None = None, **headers: str
) -> int:
    """Send a request, POST where it has a body, and return the status of the answer.

    Args:
        url: http or https.
        timeout_s: for each of connecting, sending and waiting.
        token: sent as a bearer token.
        headers: further ones; an underscore stands for a hyphen.

    Raises:
        ValueError: the URL is of another scheme.
        OSError: no answer; as a `urllib.error.HTTPError`, one of 300 or above.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url} is no http or https address")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        named["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, body, named)  # noqa: S310  checked above
    with cast("HTTPResponse", _OPENER.open(request, timeout=timeout_s)) as answer:
        return answer.status
