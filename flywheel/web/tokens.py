"""The tokens that TCP callers may send, as config.toml names them."""

from __future__ import annotations

from flywheel.config import ApiTable, Role, TokenTable, secret
from flywheel.errors import ConfigError
from flywheel.web.guard import BearerToken, bearer

TOKEN_LENGTH = 32
"""Characters that a named token has at least; it cannot be guessed then."""


def tokens_of(table: ApiTable) -> tuple[BearerToken, ...]:
    """The tokens that TCP callers may send; none while TCP is off.

    Raises:
        ConfigError: TCP is on and there is no token; one is missing, too short, or another one
            too. The message names it, and never says what it is.
    """
    for name, each in table.tokens.items():
        if 0 < len((secret(each.env) or "").strip()) < TOKEN_LENGTH:
            raise ConfigError(
                f"[api.tokens.{name}] is shorter than {TOKEN_LENGTH} characters",
                hint="make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
    if not table.tcp:
        return ()
    by_value: dict[str, BearerToken] = {}
    places: dict[str, str] = {}
    if table.token_env or not table.tokens:
        value = _value(table.token_env, f'[api] tcp = "{table.tcp}"')
        by_value[value], places[value] = bearer(value), "[api] token_env"
    for name, each in table.tokens.items():
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
