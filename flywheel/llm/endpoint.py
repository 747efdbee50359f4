"""Where requests go: the address and the key of [teacher], checked before anything is sent."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from flywheel.config import TeacherTable, secret
from flywheel.errors import FlywheelError


class EndpointUnusable(FlywheelError):
    """The configured address or key cannot be used; nothing was sent."""


def is_loopback(base_url: str) -> bool:
    """Whether the endpoint is on this machine, so that no proxy stands between."""
    try:
        host = urlsplit(base_url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def key_of(table: TeacherTable) -> str:
    """Return the key to send.

    Raises:
        EndpointUnusable: the key is named and not set.
    """
    if not table.api_key_env:
        return "none"  # local servers want a key's place filled, not a key
    found = secret(table.api_key_env)
    if not found:
        raise EndpointUnusable(
            f"[teacher] api_key_env names {table.api_key_env}, which is not set",
            hint=f"export {table.api_key_env}, or give systemd a credential of that name",
        )
    return found


def host_of(table: TeacherTable) -> str:
    """Return host and port, for messages: the address itself may hold a password.

    Raises:
        EndpointUnusable: the address is none.
    """
    try:
        parts = urlsplit(table.base_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https") or not table.base_url.isprintable():
        raise EndpointUnusable(
            f"[teacher] base_url is {table.base_url!r}, which is no http address",
            hint='write it like "https://host/v1"',
        )
    return f"{host}:{port}" if port else host
