"""Where attacks are tried: a loop with a history, in this process or as a real daemon over it.

The history is made once for each seed and copied for each case: `first` was replaced by
`champion`, and `better` waits for people in d-3. Its model is which intent has seen a word most
often, so a turn takes a tenth of a second, and its adapters are folders like any other.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel import datasets
from flywheel import turn as turning
from flywheel.config import (
    Config,
    FlywheelTable,
    GatesTable,
    IntentsRule,
    OverallRule,
    PromotionTable,
)
from flywheel.errors import FlywheelError
from flywheel.protocols import Handle, JobPhase, JobState
from flywheel.records import Decision, Feedback, Intent, Job, Prediction, Sample
from flywheel.serving.link import ChampionLink
from flywheel.store import adapters, decisions, events, open_store, redo
from flywheel.turn import Incoming, Runtime
from flywheel.unix_socket import UnixConnection

HELD = "held"
NOW = datetime(2026, 11, 22, 5, 17, tzinfo=UTC)
AUTO = PromotionTable(mode="auto", bootstrap="auto")
REVIEW = PromotionTable(mode="review", bootstrap="auto")
TWO = dataclasses.replace(REVIEW, approvals=2)
ADA, ADA_BY_TOKEN, BOB = "ada (uid 1000)", "ada (token ops)", "bob (uid 1001)"
INTENTS = ("play_music", "set_alarm", "pay_bill")
_WORDS = 6  # of an intent; the seeds know two, each later turn learns two more
_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Case:
    """One attack: its name is what must hold, its function says what got through."""

    part: str
    attempt: Callable[[Lab], str]

    @property
    def name(self) -> str:
        """The function's name as a sentence."""
        return self.attempt.__name__.replace("_", " ")

    def outcome(self, lab: Lab) -> str:
        """`HELD`, or what got through; an attack that ends in an error of ours is not held."""
        try:
            return self.attempt(lab) or HELD
        except Exception as error:  # noqa: BLE001  whatever it is, the case did not hold
            return f"{type(error).__name__}: {error}"


class Cases(list[Case]):
    """Attacks of one part of the table, in their order."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def __call__(self, attempt: Callable[[Lab], str]) -> Callable[[Lab], str]:
        """Add a function as a case."""
        self.append(Case(self._part, attempt))
        return attempt


class Memoriser:
    """An executor whose model is which intent has seen each word most often."""

    kind, pause_s, grace_s = "memoriser", 0.0, 0.0

    def find(self, job_id: str) -> Handle:
        """No job runs beside this process."""
        return ""

    def submit(self, job: Job, folder: Path) -> Handle:
        """Do the job at once."""
        values = getattr(self, f"_{job.kind}")(folder, job.spec)
        result = {"id": job.id, "ok": True, "values": values, "error": "", "seconds": 0.1}
        (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
        return job.id

    def poll(self, handle: Handle) -> JobState:
        """Every job is done."""
        return JobState(phase=JobPhase.DONE)

    def cancel(self, handle: Handle) -> None:
        """Nothing runs."""

    def fetch(self, handle: Handle, folder: Path) -> None:
        """Everything is there."""

    def _crossfit(self, folder: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
        scores = [
            {"id": row["id"], "p_label": 0.9, "top": row["intent"], "p_top": 0.9, "odds": 1.0}
            | {"anchor": 1.0}
            for row in pq.read_table(folder / "rows.parquet").to_pylist()
        ]
        pq.write_table(pa.Table.from_pylist(scores), folder / "scores.parquet")
        pairs = pa.table({"id": [], "other": [], "cosine": []})
        pq.write_table(pairs, folder / "pairs.parquet")
        return {}

    def _train(self, folder: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
        seen: dict[str, Counter[str]] = {}
        for row in pq.read_table(spec["dataset"]).to_pylist():
            if row["split"] == "train":
                for word in row["text"].split():
                    seen.setdefault(word, Counter())[row["intent"]] += 1
        votes = {word: counts.most_common(1)[0][0] for word, counts in seen.items()}
        model = json.dumps(votes, sort_keys=True)
        (folder / "adapter").mkdir(exist_ok=True)
        (folder / "adapter" / "flywheel.json").write_text(model, encoding="utf-8")
        name = hashlib.sha256(model.encode()).hexdigest()[:12]
        return {"adapter": f"a-{name}", "metrics": {"dev_accuracy": 0.5, "chosen_on": "dev"}}

    def _predict(self, folder: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
        answers = []
        for name, place in spec["adapters"].items():
            model = json.loads((Path(place) / "flywheel.json").read_text(encoding="utf-8"))
            for row in pq.read_table(folder / "rows.parquet").to_pylist():
                votes = Counter(model[word] for word in row["text"].split() if word in model)
                intent = votes.most_common(1)[0][0] if votes else "none"
                said = {"intent": intent, "arguments": "{}", "confidence": 0.8}
                answers.append({"id": row["id"], "adapter": name, **said})
        pq.write_table(pa.Table.from_pylist(answers), folder / "predictions.parquet")
        return {"hashes": {name: name for name in spec["adapters"]}, "rows": len(answers)}


def sample(text: str, intent: str, split: str, **more: Any) -> Incoming:
    """A labelled text of a person, or a seed."""
    origin = "seed" if split == "train" else "person"
    identity = datasets.sample_id(text, intent, None, origin, split)
    return Incoming(
        sample=Sample(id=identity, text=text, intent=intent, origin=origin, split=split, **more)
    )


def opened(folder: Path, promotion: PromotionTable = REVIEW, **tables: Any) -> Runtime:
    """A runtime over a folder, as a daemon makes it at its start; close its store."""
    gates = GatesTable(overall=OverallRule(profile="fast"), intents=IntentsRule(margin=0.30))
    config = Config(
        path=folder / "config.toml",
        flywheel=FlywheelTable(state_dir="var"),
        **{"gates": gates, "promotion": promotion, **tables},
    )
    config.state_dir.mkdir(parents=True, exist_ok=True)
    return Runtime(
        config=config,
        intents=tuple(Intent(name=name, description=f"do {name}") for name in INTENTS),
        store=open_store(
            config.state_dir / "flywheel.duckdb", redo_folder=config.state_dir / redo.FOLDER
        ),
        executor=Memoriser(),
        serving=ChampionLink(config.state_dir / "adapters"),
        teacher=None,
        clock=lambda: NOW,
    )


def turn_once(runtime: Runtime) -> str:
    """Run one turn to its end; returns its id."""
    begun = turning.request(runtime, "manual")
    turning.run_until_idle(runtime)
    return begun.id


@dataclass(frozen=True, slots=True)
class History:
    """What happened before an attack."""

    folder: Path
    words: Mapping[str, list[str]]  # by intent
    first: str  # a former champion
    champion: str
    better: str  # waits in d-3


def history(folder: Path, chance: random.Random) -> History:
    """Three turns: a first champion, a better one, and a third that waits for a person."""
    letters = "bcdfghklmnprstvwz"
    words = {
        intent: ["".join(chance.choices(letters, k=7)) for _ in range(_WORDS)] for intent in INTENTS
    }
    runtime = opened(folder, AUTO)
    rows = []
    for intent, known in words.items():
        rows += [sample(f"{word} seed", intent, "train") for word in known[:2]]
        for split, count in (("golden", 48), ("dev", 6)):
            texts = [f"{known[n % _WORDS]} {split}{intent}{n}" for n in range(count)]
            rows += [sample(text, intent, split) for text in texts]
    turning.add_samples(runtime, rows, by="ana (uid 999)")
    turn_once(runtime)
    correct(runtime, words, slice(2, 4))
    turn_once(runtime)
    correct(runtime, words, slice(4, 6))
    runtime.config = dataclasses.replace(runtime.config, promotion=REVIEW)
    turn_once(runtime)
    with contextlib.closing(runtime.store), runtime.store.read() as con:
        waiting = decisions.get(con, "d-3")
        first = decisions.get(con, "d-1").challenger
    if (waiting.verdict, waiting.status) != ("promote", "pending") or waiting.champion is None:
        raise RuntimeError(f"the history did not come out: {waiting}")
    return History(folder, words, first, waiting.champion, waiting.challenger)


def correct(runtime: Runtime, words: Mapping[str, list[str]], which: slice) -> None:
    """Production texts with some of the words, answered `none`, and what users meant."""
    predictions, feedback = [], []
    for intent, known in words.items():
        for word in known[which]:
            for n in range(6):
                key = f"{word}-{n}"
                predictions.append(Prediction(id=key, ts=NOW, text=f"{word} {key}", intent="none"))
                verdict: Any = {"verdict": "corrected", "intent": intent, "rater": f"u-{key}"}
                feedback.append(Feedback(id=f"f-{key}", prediction_id=key, ts=NOW, **verdict))
    with runtime.store.write() as con:
        events.add_predictions(con, predictions)
        events.add_feedback(con, feedback)


@dataclass
class Lab:
    """Copies of one history, by seed, each closed at the end of its case."""

    root: Path
    seed: int
    chance: random.Random = field(init=False)
    _history: History | None = None
    _copies: int = 0
    _open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _kept: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _standing: Daemon | None = None

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    @property
    def history(self) -> History:
        """The history of this seed, made when it is asked for first."""
        if self._history is None:
            folder = self.root / f"history-{self.seed}"
            folder.mkdir(parents=True)
            self._history = history(folder, random.Random(self.seed))
        return self._history

    def folder(self) -> Path:
        """A copy of the history for one case."""
        self._copies += 1
        copy = self.root / f"{self.seed}-{self._copies}"
        shutil.copytree(self.history.folder, copy, symlinks=True)
        return copy

    def loop(
        self, promotion: PromotionTable = REVIEW, folder: Path | None = None, **tables: Any
    ) -> Runtime:
        """The loop over a copy, as a daemon finds it at its start."""
        runtime = opened(folder or self.folder(), promotion, **tables)
        self._open.callback(runtime.store.close)
        turning.record_unknown(runtime)
        with contextlib.suppress(turning.NotServed):
            turning.reconcile(runtime)
        return runtime

    def daemon(self, config: str = "", **options: Any) -> Daemon:
        """A real daemon over a copy, or over `folder`; ended with the case."""
        folder = options.pop("folder", None) or self.folder()
        return self._open.enter_context(Daemon(folder, config, **options))

    def standing_daemon(self) -> Daemon:
        """A real daemon for cases that leave it as it was; it lives until `end`."""
        if self._standing is None or not self._standing.alive:
            folder = self.root / f"standing-{self.seed}"
            if not folder.exists():
                shutil.copytree(self.history.folder, folder, symlinks=True)
            self._standing = self._kept.enter_context(Daemon(folder, ""))
        return self._standing

    def close(self) -> None:
        """End what the case began."""
        self._open.close()
        for copy in self.root.glob(f"{self.seed}-*"):
            shutil.rmtree(copy, ignore_errors=True)

    def end(self) -> None:
        """End everything."""
        self.close()
        self._kept.close()


# What is looked at after an attack


def champion(runtime: Runtime) -> tuple[str | None, str | None]:
    """The champion by the database, and by the link."""
    with runtime.store.read() as con:
        return adapters.champion(con), runtime.serving.serving()


def decision(runtime: Runtime, name: str = "d-3") -> Decision:
    """A decision as it stands."""
    with runtime.store.read() as con:
        return decisions.get(con, name)


def acts(runtime: Runtime) -> list[tuple[str, str, str]]:
    """(what, by, because) of the events of no decision, newest first."""
    with runtime.store.read() as con:
        return [(act["what"], act["by"], act["because"]) for act in decisions.acts(con, 500)]


def refused(attempt: Callable[[], object], why: str = "") -> str:
    """ "" where the attempt is refused, for a reason with these words; else what happened."""
    try:
        result = attempt()
    except FlywheelError as error:
        return "" if why in error.message else f"refused for another reason: {error.message}"
    return f"not refused: {result}"


def unchanged(runtime: Runtime, lab: Lab, status: str = "pending") -> str:
    """ "" where the champion of the history serves still, and d-3 stands as it stood."""
    serves = champion(runtime)
    stands = decision(runtime).status
    expected = lab.history.champion
    if serves != (expected, expected) or stands != status:
        return f"{serves} serves, {expected} did; d-3 is {stands}"
    return ""


# A real daemon


@dataclass(frozen=True, slots=True)
class Reply:
    """What a daemon answered."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


ROLES = ("ingest", "label", "look", "decide", "admin")
"""Each has a token named after it in every daemon here."""
PEOPLE = ("ada", "bob")
"""Each has a token `NAME-ops` that may decide."""


def token_of(name: str) -> str:
    """The value of a token, as long as it must be."""
    return hashlib.sha256(f"attack {name}".encode()).hexdigest()


class Daemon:
    """`flywheel run` over a folder, with a token for each role and for two people."""

    def __init__(
        self, folder: Path, config: str, *, start: bool = True, promotion: str = "approvals = 2"
    ) -> None:
        self.folder = folder
        self.promotion, self.config = promotion, config
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    def write_config(self) -> None:
        """Write the files that the daemon reads at its start."""
        tools = [{"type": "function", "function": {"name": name}} for name in INTENTS]
        (self.folder / "intents.json").write_text(json.dumps(tools), encoding="utf-8")
        tokens = [f'[api.tokens.{role}]\nenv = "T_{role}"\nrole = "{role}"\n' for role in ROLES]
        tokens += [
            f'[api.tokens.{name}-ops]\nenv = "T_{name}"\nrole = "decide"\nperson = "{name}"\n'
            for name in PEOPLE
        ]
        text = (
            f'[schedule]\ncron = ""\n[intents]\nfile = "intents.json"\n'
            f'[promotion]\nmode = "review"\nbootstrap = "auto"\n{self.promotion}\n'
            f'[api]\ntcp = "127.0.0.1:{self.port}"\ningest_socket = "in.sock"\n'
            f'token_env = "T_old"\n{"".join(tokens)}{self.config}'
        )
        (self.folder / "config.toml").write_text(text, encoding="utf-8")

    def __enter__(self) -> Daemon:
        self.write_config()
        if self._start:
            self.start()
        return self

    def start(self, patience_s: float = _START_S) -> None:
        """Start it and wait until it is ready.

        Raises:
            RuntimeError: it ended instead; the message has its last words.
        """
        secrets = {f"T_{name}": token_of(name) for name in (*ROLES, *PEOPLE, "old")}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
            address = self.folder / "notify"
            address.unlink(missing_ok=True)
            ear.bind(str(address))
            ear.settimeout(0.2)
            with (self.folder / "daemon.err").open("ab") as errors:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "flywheel", "run", "--config", "config.toml"],
                    cwd=self.folder,
                    env=os.environ | secrets | {"NOTIFY_SOCKET": str(address)},
                    stdout=errors,
                    stderr=errors,
                )
            until = time.monotonic() + patience_s
            while True:
                with contextlib.suppress(TimeoutError):
                    if ear.recv(4096).startswith(b"READY=1"):
                        return
                if self._process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"the daemon did not start: {self.words()[-600:]}")

    def kill(self) -> None:
        """`kill -9`."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it as a service manager does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def __exit__(self, *error: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def words(self) -> str:
        """Everything that it said and logged."""
        files = [self.folder / "daemon.err", *sorted((self.folder / "logs").glob("*"))]
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
        return "\n".join(texts)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        ingest: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request: over TCP with a token's value, else over one of the two sockets."""
        connection: http.client.HTTPConnection
        sent = dict(headers or {})
        if token is not None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_START_S)
            sent.setdefault("Authorization", f"Bearer {token}")
        elif ingest:
            connection = UnixConnection(self.folder / "in.sock", _START_S)
        else:
            connection = UnixConnection(self.folder / "var" / "flywheel.sock", _START_S)
        with contextlib.closing(connection):
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Reply(answer.status, answer.read())

    def by(self, name: str, method: str, path: str, body: Any = None) -> Reply:
        """One request with the token of a role or of a person."""
        return self.ask(method, path, body, token=token_of(name))

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """JSON of one request over the main socket.

        Raises:
            RuntimeError: it was refused.
        """
        reply = self.ask(method, path, body)
        if reply.status >= 300:
            raise RuntimeError(f"{method} {path}: {reply.status} {reply.body[:300]!r}")
        return reply.json
