"""Who could come in here, and what they may: tokens, and the socket that only takes events.

Names of tokens, variables and people; never a token.
"""

from __future__ import annotations

import pwd
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flywheel.cli.doctor.environment import Finding, ok, warn

if TYPE_CHECKING:
    from flywheel.config import Config, TokenTable


def doors(config: Config) -> Iterator[Finding]:
    """What is open besides the socket in the state folder, and who would not count as a person."""
    api = config.api
    if api.ingest_socket:
        group = f", for the group {api.ingest_group}" if api.ingest_group else ""
        yield ok("ingest", f"{config.ingest_path} only takes events{group}")
    if api.tokens and not api.tcp:
        yield warn(
            "tokens",
            "tokens are named, but [api] tcp is off: nobody can use them",
            'set tcp = "127.0.0.1:8765" in [api], or remove [api.tokens]',
        )
    if api.tcp and api.token_env:
        yield from _of_everything(config)
    if api.tcp and api.tokens:
        yield ok("tokens", "; ".join(f"{n}: {_said(each)}" for n, each in api.tokens.items()))
        yield from _uncounted(config)


def _said(token: TokenTable) -> str:
    may = token.role or ", ".join(token.roles)
    return f"{may} (held by {token.person})" if token.person else f"{may} (held by a program)"


def _of_everything(config: Config) -> Iterator[Finding]:
    """The token of `token_env`, which knows no roles and no person."""
    from flywheel.config import secret
    from flywheel.web.tokens import TOKEN_LENGTH

    todo = "name tokens in [api.tokens.NAME], each with its role, and its person where it has one"
    text = "who holds the token of [api] token_env may everything, and is nobody in particular"
    if config.promotion.approvals == 2:
        text += "; of the two approvals it is never one"
    yield warn("token", text, todo)
    if 0 < len((secret(config.api.token_env) or "").strip()) < TOKEN_LENGTH:
        yield warn(
            "token",
            f"the token of [api] token_env has fewer than {TOKEN_LENGTH} characters: it can be "
            "guessed",
            "make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )


def _uncounted(config: Config) -> Iterator[Finding]:
    """Tokens that decide and whose holder would count as nobody, or as somebody else."""
    for name, token in config.api.tokens.items():
        decides = {"decide", "admin"} & {token.role, *token.roles}
        if token.person and not _has_account(token.person):
            yield warn(
                "tokens",
                f"[api.tokens.{name}] person: there is no user {token.person} here, so a person "
                "with another login name would count twice",
                "write the name that the person logs in with",
            )
        elif decides and not token.person and config.promotion.approvals == 2:
            yield warn(
                "tokens",
                f"[api.tokens.{name}] may decide and names no person: of the two approvals it is "
                "never one",
                'write person = "the login name of who holds it"',
            )


def _has_account(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
