"""What the loop learns from: the intents, the teacher, the golden set."""

from __future__ import annotations

import json
import urllib.error
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flywheel.cli.doctor.environment import Finding, Running, fail, ok, skip, warn
from flywheel.cli.text import next_generation, on_generation
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
    from flywheel.web.outgoing import send

    try:
        status = send(url, timeout_s=_TIMEOUT_S, token=key or "")
        return ok("teacher", f"{shown} answers ({status})")
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return warn("teacher", f"{shown} refuses the key ({error.code})", "is the key right?")
        if error.code in (404, 405):
            return ok("teacher", f"{shown} answers, without a list of models")
        if error.code < 400:
            return warn("teacher", f"{shown} redirects elsewhere", "name the last address")
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
        yield skip("golden", f"not counted: no daemon runs; {that_pays(config)}")
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
            f"there is none; no challenger can be judged; {that_pays(config)}",
            "flywheel samples import FILE --split golden",
        )
        return
    try:
        found = running.daemon.get("golden").value
    except FlywheelError:
        found = None  # an older daemon
    yield _resolved(config, counts, found["ahead"]["pools"] if found else [])
    if found:
        yield from _generation(found.get("generation"))
        yield from _ahead(found)
    left = (running.status.get("golden") or {}).get("queries_left")
    if left is not None and left <= 0:
        yield warn(
            "golden",
            "this generation has no query left",
            "import new rows: flywheel samples import FILE --split golden --new-generation",
        )


def _generation(generation: Mapping[str, Any] | None) -> Iterator[Finding]:
    """What judges, what is learned of it, and when the next generation is wanted."""
    if not generation:
        return
    told = on_generation(generation)
    if wanted := next_generation(generation):
        fix = f"{wanted}: flywheel samples import FILE --split golden --new-generation"
        yield warn("generation", told, fix)
    else:
        yield ok("generation", told)


def that_pays(config: Config) -> str:
    """The smallest golden set that pays for the intents of this router, in a sentence's part."""
    from flywheel.gates import golden_that_pays

    try:
        pays = golden_that_pays(listed(config), config.gates)
    except ValueError:
        return "no set shows this [gates.intents] margin"
    if not pays.texts:
        return "intents come first"
    each = sorted(set(pays.each.values()))
    rows = f"{each[0]} each" if len(each) == 1 else f"{each[0]} each, {each[-1]} of a critical one"
    many = "1 intent" if len(pays.each) == 1 else f"{len(pays.each)} intents"
    text = f"a set that pays has {pays.texts} texts for {many} ({rows})"
    gain = f", and finds a gain of {100 * pays.gain:.1f} points" if pays.gain < 1 else ""
    return f"{text}, lasts {pays.turns} turns{gain}"


def _ahead(found: Mapping[str, Any]) -> Iterator[Finding]:
    """What deciding will take, before the first turn: labels, turns, pools, contradictions."""
    if pairs := found["contradicting"]:
        named = ", ".join(" and ".join(pair) for pair in pairs[:3])
        many = f"{len(pairs)} texts have two labels and judge"
        one = "1 text has two labels and judges"
        yield warn(
            "golden",
            f"{one if len(pairs) == 1 else many} nothing: {named}",
            "flywheel samples dispute ID sets the wrong one aside",
        )
    ahead = found["ahead"]
    pooled = sum(len(pool["intents"]) for pool in ahead["pools"])
    text = f"about {ahead['labels']} labels decide a harmless challenger"
    text += f", traffic has texts for {ahead['offered']}"
    if pooled:
        pools = len(ahead["pools"])
        shows = "1 pool, which shows" if pools == 1 else f"{pools} pools, which show"
        text += f"; {pooled} intents are too rare and are judged together in {shows} little of "
        text += "one intent"
    if ahead["turns"] is not None:
        turns = f"{ahead['turns']} turn{'s' * (ahead['turns'] != 1)}"
        yield ok("deciding", f"{text}; it passes after about {turns}")
        return
    needs = ", ".join(f"{count} of {name}" for name, count in list(ahead["beyond"].items())[:3])
    more = f" and {len(ahead['beyond']) - 3} more" if len(ahead["beyond"]) > 3 else ""
    ways = f"import golden rows ({needs}{more})" if needs else "import golden rows"
    ways += f", or in config.toml: {ahead['group']}" if ahead["group"] else ""
    yield warn("deciding", f"{text}; it can never be decided by what there is", ways)


def _resolved(config: Config, counts: Counter[str], pools: Sequence[Mapping[str, Any]]) -> Finding:
    """Which margin the intents that are judged alone resolve; those in pools are not among them."""
    from flywheel.metrics import resolvable_margin

    rule, known = config.gates.intents, listed(config)
    critical = {intent.name for intent in known if intent.critical}
    pooled = {name for pool in pools for name in pool["intents"]}
    rows = dict.fromkeys((intent.name for intent in known), 0) | counts
    alone = {name: count for name, count in rows.items() if name not in pooled} or rows
    best = {name: resolvable_margin(count) for name, count in alone.items()}
    margin = {name: rule.margin_of(critical=name in critical) for name in alone}
    weak = [n for n, m in best.items() if m is None or m > margin[n] + 1e-9]
    least = min(alone, key=lambda name: alone[name])
    shown = "no margin" if best[least] is None else f"a margin of {best[least]:.2f}"
    judged = f"each of the {len(alone)} intents that are judged alone" if pooled else "every intent"
    text = f"{shown} is resolved by {judged} ({alone[least]} rows of {least})"
    those = (
        f"{len(weak)} of these {len(alone)}" if pooled else f"{len(weak)} of {len(alone)} intents"
    )
    beside = f"; the {len(pooled)} rarer ones are judged together" if pooled else ""
    if not weak:
        can = f"[gates.intents] margin = {rule.margin:g} can be decided"
        return ok("golden", f"{text}; {can}{beside}")
    return warn(
        "golden",
        f"{text}; margin = {rule.margin:g} stays undecided for {those} until rows of them are "
        f"added{beside}",
        "add golden rows, or label what a turn asks for: flywheel samples label",
    )
