"""Tables of config.toml for what answers with the champion, and what is watched of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamTable:
    """[serving.upstream]: the model that answers while there is no champion; off without a URL."""

    base_url: str = ""  # any OpenAI-compatible endpoint, such as "https://host/v1"
    model: str = ""  # that it is asked for; clients may go on to name it when a champion answers
    api_key_env: str = ""  # environment variable, or systemd credential, that holds the key
    when: Literal["no_champion", "always"] = "no_champion"  # always: also where there is one
    timeout_s: float = 60.0  # of one answer, its wait too; of a stream, between two pieces of it
    max_requests: int = 64  # that it is asked at once
    queue: int = 256  # requests that may wait for that; above it, 429
    usd_per_million_input: float = 0.0
    usd_per_million_output: float = 0.0

    def __post_init__(self) -> None:
        if self.base_url and not self.model:
            raise ValueError("`base_url` is set, and `model` is not")
        for name, least in (("max_requests", 1), ("queue", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` is {getattr(self, name)}, not {least} or more")
        if self.timeout_s <= 0:
            raise ValueError(f"`timeout_s` is {self.timeout_s}, not above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingTable:
    """[serving]: what is told of a new champion, and how `flywheel serve` answers with it.

    `kind` is `link` (adapters/champion moves, and nothing is asked), `local` (`flywheel serve` on
    this machine has to give the evaluated answers first), `directory` (servers elsewhere take it
    from `directory`) or `command` (`command` deploys it, and `url` is asked first).
    """

    kind: str = "link"  # or local: proved by `flywheel serve` here; directory; command
    directory: str = ""  # a folder, or s3://bucket/prefix; of kind directory
    command: tuple[str, ...] = ()  # program and first arguments; of kind command
    command_env: tuple[str, ...] = ()  # variables it gets beside PATH, HOME, LANG and their like
    url: str = ""  # where kind command is proved, below it /v1/predict
    token_env: str = ""  # variable, or systemd credential, with the bearer token for `url`
    canary: float = 0.10  # of keys that a promotion answers first while it is watched; 0: all
    parity_texts: int = 200  # dev texts whose answers must be the evaluated ones, beside must-pass
    parity_minutes: float = 60.0  # what serves is asked again after so long
    socket: str = "serve.sock"  # Unix socket of `flywheel serve`, from the state folder
    tcp: str = ""  # "127.0.0.1:8766"; takes a token of role `ask` from [api.tokens.NAME]
    engine: Literal["auto", "torch", "onnx"] = "auto"  # auto: the fastest of this machine
    threads: int = 0  # batches that are answered at a time; 0: one for two cores, at most 4
    window_ms: float = 1.0  # that a batch waits for more texts, where several ask at a time
    max_batch: int = 32  # texts answered at once
    queue: int = 1024  # texts that may wait; above it, 429
    deadline_s: float = 10.0  # of one request; above it, 504
    log_mb: int = 256  # logged answers that may wait for the daemon; above it, they are not logged
    log_share: float = 1.0  # of answers that are logged, by lot; counts stay true
    upstream: UpstreamTable = UpstreamTable()

    def __post_init__(self) -> None:
        for name in ("max_batch", "queue", "deadline_s", "parity_texts", "parity_minutes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` is {getattr(self, name)}, not above 0")
        if not 0 <= self.canary < 1:
            raise ValueError(f"`canary` is {self.canary}, not in 0..1, 1 excluded")
        if self.threads < 0:
            raise ValueError(f"`threads` is {self.threads}, not 0 or more")
        if not 0 <= self.log_share <= 1:
            raise ValueError(f"`log_share` is {self.log_share}, not in 0..1")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchTable:
    """[watch]: a new champion beside the earlier one, as `flywheel serve` answers with both.

    `report` proposes a rollback to a person, `rollback` makes it by itself, whoever approved the
    promotion. What a person decides after the promotion is never undone.
    """

    mode: Literal["off", "report", "rollback"] = "off"
    alpha: float = 0.01  # chance that a promotion without harm is called harmful
    answers: int = 20_000  # of both arms, after which the new champion answers everything

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"`alpha` is {self.alpha}, not between 0 and 1")
        if self.answers < 1:
            raise ValueError(f"`answers` is {self.answers}, not 1 or more")
