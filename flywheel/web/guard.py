"""May this request pass? Strangers, browsers, and callers without the role are refused.

Each route names the role that it takes. A refusal is counted, and logged at most once a minute for
each kind.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flywheel.config import Role
from flywheel.web.http import Forbidden, problem
from flywheel.web.peer import (
    CALLER,
    EVERY_ROLE,
    LISTENER,
    LOGIN,
    NO_LOGIN,
    UID,
    Caller,
    listens_at,
    of_token,
    on_socket,
)
from flywheel.web.refusals import Refusals

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What a stranger over TCP is answered."""
_ELSEWHERE = ("cross-site", "same-site")
"""What a browser says of a request that a page of another server makes (Fetch Metadata)."""


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A token of TCP, by its hash, and the caller it stands for."""

    digest: bytes = field(repr=False)  # SHA-256: equally long, whatever the token is
    caller: Caller


def bearer(
    value: str, name: str = "", person: str = "", roles: frozenset[Role] = EVERY_ROLE
) -> BearerToken:
    """A token from its value; without a name the one of `[api] token_env`, which may everything."""
    return BearerToken(_digest(value.encode()), of_token(name, person, roles))


def demand(
    request: Request, role: Role, what: str = "this", *, or_role: Role | None = None
) -> None:
    """Let only callers with a role go on, or with the other one that is enough.

    Raises:
        Forbidden: the caller has neither; the message says what they have.
    """
    caller: Caller | None = request.scope.get(CALLER)
    enough: list[Role] = [role, or_role] if or_role else [role]
    if caller is not None and any(caller.may(each) for each in enough):
        return
    has = ", ".join(sorted(caller.roles)) if caller else ""
    raise Forbidden(
        f"{what} takes the role {' or '.join(enough)}; {caller or 'nobody'} has {has or 'none'}",
        hint=_how_to_get(role, caller),
    )


def _how_to_get(role: Role, caller: Caller | None) -> str:
    if caller is not None and caller.uid is not None:
        return "this socket only takes events; the other one, flywheel.sock, gives every role"
    table = f"[api.tokens.{caller.token}]" if caller and caller.token else "[api.tokens.NAME]"
    return f'who runs the daemon gives it: "{role}" in `roles` of {table}, and a restart'


Refuse = Callable[[str, int, str, str, Mapping[str, str] | None], Response]
"""Path, status, what is wrong, what to do, headers."""


def _refuse(
    path: str, status: int, message: str, hint: str, headers: Mapping[str, str] | None
) -> Response:
    return problem(status, message, hint, headers)


class Guard:
    """Refuses strangers and browsers, and names the caller to the handlers.

    A browser is never a caller but of the page: a request with a foreign Host is refused, so that
    no name of an attacker can be pointed here, and so are a change that carries an Origin, and
    whatever another page fetches, which could have a backup made in the name of who reads it.

    Args:
        app: what is guarded.
        tokens: those of TCP; none admit nobody there.
        hosts: names this daemon is known by, besides addresses and names without a dot.
        main_socket: path of the Unix socket that gives every role; any other gives `ingest` alone.
            "": there is no other.
        refusals: where what is refused is counted.
        refuse: makes the answer to what is refused, of the path and what `problem` takes.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: Sequence[BearerToken],
        hosts: frozenset[str],
        main_socket: str,
        refusals: Refusals,
        refuse: Refuse = _refuse,
    ) -> None:
        self._app = app
        self._refuse = refuse
        self._tokens = tokens
        self._hosts = hosts
        self._main_socket = main_socket
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, path = Headers(scope=scope), scope["path"]
        caller = scope[CALLER] = self._caller(scope, headers)
        refused: Response | None = None
        if not _known_host(headers.get("host", ""), self._hosts):
            self._refusals.count("host", who_asked(scope, caller))
            refused = self._refuse(
                path, 400, "the Host header names another server", "use an address", None
            )
        elif "origin" in headers and scope["method"] not in ("GET", "HEAD"):
            self._refusals.count("origin", who_asked(scope, caller))
            refused = self._refuse(
                path, 403, "changes are not taken from web pages", "use the command line", None
            )
        elif headers.get("sec-fetch-site") in _ELSEWHERE and path != "/":
            self._refusals.count("origin", who_asked(scope, caller))
            refused = self._refuse(
                path, 403, "web pages may only link to the page", "open / and go on there", None
            )
        elif caller is None and path not in OPEN_PATHS:
            refused = self._stranger(scope, headers)
        await (refused or self._app)(scope, receive, send)

    def _stranger(self, scope: Scope, headers: Headers) -> Response:
        """The answer to a request without a right token, which is never kept waiting itself."""
        address, path = _address(scope), scope["path"]
        if "authorization" not in headers:
            self._refusals.count("no_token", address)
        elif wait := self._refusals.wrong_token(address):
            return self._refuse(
                path,
                429,
                "too many wrong tokens from your address",
                "send the right one, or wait",
                {"Retry-After": str(wait)},
            )
        return self._refuse(
            path,
            401,
            "no valid token",
            "send Authorization: Bearer TOKEN, or use the Unix socket",
            {"WWW-Authenticate": "Bearer"},
        )

    def _caller(self, scope: Scope, headers: Headers) -> Caller | None:
        uid = scope.get(UID)
        if uid is not None:
            is_main = not self._main_socket or listens_at(
                scope.get(LISTENER, ""), self._main_socket
            )
            roles: frozenset[Role] = EVERY_ROLE if is_main else frozenset({"ingest"})
            return on_socket(uid, scope.get(LOGIN, NO_LOGIN), roles)
        scheme, _, given = headers.get("authorization", "").partition(" ")
        digest = _digest(given.strip().encode())
        found = None
        for token in self._tokens:  # all of them, however early one fits
            if hmac.compare_digest(token.digest, digest):
                found = token.caller
        return found if scheme.lower() == "bearer" and given.strip() else None


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


def who_asked(scope: Scope, caller: Caller | None) -> str:
    """The caller, or the address of a stranger."""
    return str(caller) if caller is not None else _address(scope)


def _address(scope: Scope) -> str:
    """The peer's address; of IPv6 its network of 64 bits, which one host has to itself."""
    host = str((scope.get("client") or ("nobody",))[0])
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network((address, 64), strict=False) if address.version == 6 else host)


def _known_host(header: str, hosts: frozenset[str]) -> bool:
    """True for an address, a name without a dot, or a name in `hosts`; the port is not judged."""
    bracketed, _, _ = header.partition("]")
    name = bracketed[1:] if header.startswith("[") else header.rpartition(":")[0] or header
    name = name.lower()
    if name in hosts or ("." not in name and ":" not in name):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
