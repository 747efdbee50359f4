"""`flywheel serve`: the inference process, in the foreground."""

from __future__ import annotations

import typer

from flywheel.cli.command import ConfigFile, find_config, named_config


def serve(ctx: typer.Context, *, config: ConfigFile = None) -> None:
    """Answer with the champion over HTTP, in the foreground.

    It is what systemd starts beside the daemon. It answers on serve.sock in the state folder, and
    over TCP where [serving] tcp says so: POST /v1/predict, and OpenAI's /v1/chat/completions and
    /v1/responses. SIGTERM or Ctrl-C ends it once the requests under way are answered; SIGHUP reads
    config.toml anew.
    """
    path = find_config(config or named_config(ctx))
    from flywheel.inference.process import serve as be_the_server

    raise typer.Exit(be_the_server(path))
