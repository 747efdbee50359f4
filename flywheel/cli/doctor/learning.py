"""What the loop learns from: the intents, the teacher, the golden set."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flywheel.cli.doctor.environment import Finding, Running, fail, ok, skip, warn
from flywheel.errors import FlywheelError
from flywheel.records import NONE

if TYPE_CHECKING:
    from flywheel.config import Config
    from flywheel.records import Intent

_TIMEOUT_S = 5.0
_TEXTS = 5_000  # enough to know the script by


def intents(config: Config) -> Iterator[Finding]:
    """Whether the intents can be read, and describe themselves to a teacher."""
    from flywheel.config import load_intents

    try:
        listed = load_intents(config.root / config.intents.file)
    except FlywheelError:
        return  # told by `startable`
    if not listed:
        yield fail("intents", f"{config.intents.file} lists none", "write one [[intent]] each")
        return
    silent = [intent.name for intent in listed if not intent.description]
    if silent and config.teacher.base_url:
        yield warn(
            "intents",
            f"{len(listed)}, of which {len(silent)} have no description ({silent[0]} …)",
            "describe them: the teacher writes samples from it",
        )
    else:
        yield ok("intents", f"{len(listed)} in {config.intents.file}")


def described(config: Config) -> list[str]:
    """Names and descriptions of the intents."""
    return [f"{intent.name} {intent.description}" for intent in listed(config)]


def listed(config: Config) -> tuple[Intent, ...]:
    """The intents; none where they cannot be read, which another check tells."""
    from flywheel.config import load_intents

    try:
        return load_intents(config.root / config.intents.file)
    except FlywheelError:
        return ()


def texts(running: Running) -> list[str]:
    """Texts of the samples, where a daemon gives them."""
    texts: list[str] = []
    if running.daemon is not None:
        try:
            body = running.daemon.get("samples", query={"format": "ndjson"}).body
            rows = [json.loads(line) for line in body.splitlines()[:_TEXTS]]
            texts += [row["text"] for row in rows if isinstance(row, dict) and "text" in row]
        except (FlywheelError, ValueError):
            pass  # an older daemon; other texts must do
    return texts


def teacher(config: Config) -> Iterator[Finding]:
    """Whether the teacher's key is here and its endpoint answers."""
    from flywheel.config import secret

    table = config.teacher
    if not table.base_url:
        yield ok("teacher", "none configured; turns learn from feedback and imported samples")
        return
    if not table.model:
        yield warn("teacher", "[teacher] model is empty", "name the model to ask")
    key = secret(table.api_key_env)
    if table.api_key_env and key is None:
        yield warn(
            "teacher",
            f"no environment variable or systemd credential {table.api_key_env}",
            "set it where the daemon runs; this shell may differ from it",
        )
        return
    yield _leaving(config)
    url = table.base_url.rstrip("/") + "/models"
    if not url.startswith(("http://", "https://")):
        yield warn("teacher", f"{table.base_url} is no http address", "mend [teacher] base_url")
        return
    yield _reached(url, key, table.base_url)


_EXAMPLE = "call 415-555-2671 and mail anna@example.org that my card is 4111 1111 1111 1111"
_NAMED = "ask Maria Garcia to call 415-555-2671 and mail anna@example.org"


def _leaving(config: Config) -> Finding:
    """An example of what is sent, as it is sent."""
    from flywheel.teacher.redaction import finder, redact

    if not config.teacher.redact:
        return warn(
            "redaction",
            "off: failed texts leave the machine as people said them",
            "set [teacher] redact = true, unless the teacher runs on a machine of yours",
        )
    try:
        names = finder(config.teacher.names_model)
    except FlywheelError as error:
        return fail("redaction", error.message, error.hint)
    example = _NAMED if names else _EXAMPLE
    return ok("redaction", f"“{example}” leaves as “{redact(example, names).text}”")


def _reached(url: str, key: str | None, shown: str) -> Finding:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  http(s), checked above
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            return ok("teacher", f"{shown} answers ({answer.status})")
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return warn("teacher", f"{shown} refuses the key ({error.code})", "is the key right?")
        if error.code in (404, 405):
            return ok("teacher", f"{shown} answers, without a list of models")
        return warn("teacher", f"{shown} answers {error.code}", "try again later")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return warn("teacher", f"{shown} cannot be reached ({reason})", "turns go on without it")


def golden_rows(running: Running) -> Counter[str]:
    """Rows of the golden set by intent, `none` among them; raises FlywheelError."""
    counts: Counter[str] = Counter()
    if running.daemon is not None:
        for row in running.daemon.get("samples").value:
            if row["split"] == "golden":
                counts[row["intent"]] += int(row["count"])
    return counts


def golden(config: Config, running: Running) -> Iterator[Finding]:
    """Which margin the golden set can resolve, intent by intent."""
    if running.daemon is None:
        yield skip("golden", "not looked at: no daemon runs")
        return
    try:
        counts = golden_rows(running)
    except FlywheelError as error:
        yield warn("golden", error.message, error.hint)
        return
    del counts[NONE]
    if not counts:
        yield warn(
            "golden",
            "there is none; no challenger can be judged",
            "flywheel samples import FILE --split golden",
        )
        return
    yield _resolved(config, counts)
    left = (running.status.get("golden") or {}).get("queries_left")
    if left is not None and left <= 0:
        yield warn(
            "golden",
            "this generation has no query left",
            "import new rows: flywheel samples import FILE --split golden --new-generation",
        )


def _resolved(config: Config, counts: Counter[str]) -> Finding:
    from flywheel.metrics import resolvable_margin

    margin = config.gates.intents.margin
    weak = []
    for name, count in counts.items():
        resolved = resolvable_margin(count)
        if resolved is None or resolved > margin + 1e-9:
            weak.append(name)
    least = min(counts, key=lambda name: counts[name])
    best = resolvable_margin(counts[least])
    shown = "no margin" if best is None else f"a margin of {best:.2f}"
    text = f"{shown} is resolved by every intent ({counts[least]} rows of {least})"
    if not weak:
        return ok("golden", f"{text}; [gates.intents] margin = {margin:g} can be decided")
    return warn(
        "golden",
        f"{text}; margin = {margin:g} stays undecided for {len(weak)} of {len(counts)} intents",
        "add golden rows, or raise [gates.intents] margin",
    )
