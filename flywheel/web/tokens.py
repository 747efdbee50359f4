"""The tokens that TCP callers may send, as config.toml names them."""

from __future__ import annotations

from collections.abc import Sequence

from flywheel.config import ApiTable, Role, TokenTable, secret
from flywheel.errors import ConfigError
from flywheel.web.guard import BearerToken, bearer
from flywheel.web.peer import of_token

TOKEN_LENGTH = 32
"""Characters that a named token has at least; it cannot be guessed then."""


def tokens_of(
    table: ApiTable, tcp: str | None = None, key: str = "[api] tcp", only: Sequence[Role] = ()
) -> tuple[BearerToken, ...]:
    """The tokens that TCP callers may send; none while TCP is off.

    Args:
        table: where tokens are named.
        tcp: the address; None: that of the table.
        key: where the address stands in config.toml, for the errors.
        only: leave out tokens that give none of these roles: their holders ask another process,
            which alone needs to know them; (): none is left out.

    Raises:
        ConfigError: TCP is on and there is no token; one is missing, too short, or another one
            too. The message names it, and never says what it is.
    """
    tcp = table.tcp if tcp is None else tcp
    wanted = {name: each for name, each in table.tokens.items() if _gives(each, only)}
    for name, each in wanted.items():
        if 0 < len((secret(each.env) or "").strip()) < TOKEN_LENGTH:
            raise ConfigError(
                f"[api.tokens.{name}] is shorter than {TOKEN_LENGTH} characters",
                hint="make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
    if not tcp:
        return ()
    by_value: dict[str, BearerToken] = {}
    places: dict[str, str] = {}
    if table.token_env or not wanted:
        value = _value(table.token_env, f'{key} = "{tcp}"')
        by_value[value], places[value] = bearer(value), "[api] token_env"
    for name, each in wanted.items():
        place = f"[api.tokens.{name}]"
        value = _value(each.env, place)
        if value in by_value:
            raise ConfigError(
                f"{places[value]} and {place} are the same token",
                hint="give each holder one of their own: who has it could be either",
            )
        by_value[value] = bearer(value, name, each.person, roles_of(each))
        places[value] = place
    return tuple(by_value.values())


def _gives(table: TokenTable, roles: Sequence[Role]) -> bool:
    """Whether the token gives one of the roles, by itself or by one that includes it."""
    caller = of_token("", "", roles_of(table))
    return not roles or any(caller.may(role) for role in roles)


def _value(name: str, place: str) -> str:
    """The token that a variable or a credential of this name holds."""
    value = (secret(name) or "").strip()
    if not value:
        named = f"{name} is not set" if name else "token_env is empty"
        raise ConfigError(
            f"{place} needs a token, and {named}",
            hint="name an environment variable or systemd credential in [api] token_env, or in "
            "`env` of [api.tokens.NAME]",
        )
    return value


def roles_of(table: TokenTable) -> frozenset[Role]:
    """What the holder of a token may."""
    return frozenset((table.role,) if table.role else table.roles)
