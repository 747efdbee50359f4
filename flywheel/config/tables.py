"""Every table and key of config.toml, with its default. The field comments are the reference.

`docs/reference/config.md` is generated from this file and `serving_tables.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flywheel.config.serving_tables import ServingTable, WatchTable


def time_zone(name: str) -> tzinfo:
    """Return a time zone by its name; UTC needs no data of the machine.

    Raises:
        ValueError, ZoneInfoNotFoundError: there is none of this name.
    """
    return UTC if name == "UTC" else ZoneInfo(name)


# [gates.NAME]: what each gate holds a challenger to.


@dataclass(frozen=True, slots=True, kw_only=True)
class HygieneRule:
    """[gates.hygiene]: nothing of the golden set may have reached training."""

    jaccard: float = 0.80  # word sets; character bigrams where a script has no spaces


@dataclass(frozen=True, slots=True, kw_only=True)
class MustPassRule:
    """[gates.must_pass]: every example marked must-pass is right."""

    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class OverallRule:
    """[gates.overall]: the challenger is better overall."""

    profile: Literal["strict", "fast"] = "strict"  # strict: alpha / queries; fast: .05 each turn
    alpha: float = 0.10  # chance of a false promotion over a golden generation (strict)
    queries: int = 30  # that a golden generation answers (strict)
    alpha_fast: float = 0.05  # chance of a false promotion each turn (fast)
    prescreen_p: float = 1.0  # below 1: ask the golden set only when dev says p <= this

    @property
    def level(self) -> float:
        """The p-value at or below which one turn passes."""
        return self.alpha_fast if self.profile == "fast" else self.alpha / self.queries


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshRule:
    """[gates.fresh]: not worse on verified production samples never used before."""

    required: bool = False
    min_examples: int = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentsRule:
    """[gates.intents]: each intent shows that it did not lose the margin."""

    margin: float = 0.20  # recall an intent may not have lost
    critical_margin: float = 0.10  # the same for critical intents
    max_labels_per_intent: int = 100  # asked for before a person decides
    max_labels_per_turn: int = 500
    pools: Literal["auto", "off"] = "auto"  # auto: intents too rare for it are judged together
    groups: dict[str, str] = field(default_factory=dict)  # together: { a = "few", b = "few" }

    def margin_of(self, *, critical: bool) -> float:
        """The margin of a critical intent, or of a pool with one; else that of all others."""
        return self.critical_margin if critical else self.margin


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicesRule:
    """[gates.slices]: each configured slice shows that it did not lose its margin."""

    margins: dict[str, float] = field(default_factory=dict)  # { "channel=voice" = 0.20 }


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfScopeRule:
    """[gates.out_of_scope]: neither false accepts nor false rejects rise by the margin."""

    required: bool = False
    margin: float = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedAnswersRule:
    """[gates.changed_answers]: nothing that few raters taught turns texts of other intents."""

    required: bool = True
    turned: float = 0.50  # share of other texts that a wording turns, from which a person looks
    examples: int = 10  # turned texts shown to that person


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRule:
    """[gates.calibration]: the paired Brier score does not get worse."""

    required: bool = False
    max_increase: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRule:
    """[gates.latency]: at most 5 % of answers take longer than `limit_ms`."""

    required: bool = False
    limit_ms: float = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomRule:
    """[gates.OWN]: a gate of your own, by any other name; every further key is its option."""

    plugin: str  # plugins/NAME.py, or entry point in `flywheel.gates`
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatesTable:
    """[gates]: golden rows that are learned, by counts and lot; [gates.NAME] is a table a gate.

    What judges a challenger is unseen by it and by the champion, whatever is set here. Rows marked
    `must_pass` are never learned, and an intent keeps as many rows as its margin needs.
    """

    share: Literal["auto"] | float = "auto"  # of an intent's rows, learned at import; auto: <= half
    retire: Literal["auto", "off"] = "auto"  # off: rows that have judged are not learned
    retire_after: int = 10  # queries that a row answers before it may retire

    hygiene: HygieneRule = HygieneRule()
    must_pass: MustPassRule = MustPassRule()
    overall: OverallRule = OverallRule()
    fresh: FreshRule = FreshRule()
    intents: IntentsRule = IntentsRule()
    slices: SlicesRule = SlicesRule()
    out_of_scope: OutOfScopeRule = OutOfScopeRule()
    changed_answers: ChangedAnswersRule = ChangedAnswersRule()
    calibration: CalibrationRule = CalibrationRule()
    latency: LatencyRule = LatencyRule()
    custom: dict[str, CustomRule] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.share != "auto" and not 0 <= self.share <= 1:
            raise ValueError(f'`share` is {self.share}, not "auto" and not in 0..1')


@dataclass(frozen=True, slots=True, kw_only=True)
class FlywheelTable:
    """[flywheel]: where state lives."""

    state_dir: str = "var"  # database, datasets, adapters, jobs, socket; relative to config.toml
    rejected_mb: int = 64  # lines that were not taken; above it, the oldest go
    spool_mb: int = 256  # acknowledged events that may wait to be loaded; above it, 429
    keep_days: int = 0  # older events move to state_dir/archive/; 0: they stay in the tables
    log_dir: str = "logs"  # JSON lines; "" writes to the journal only
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    zone: str = "UTC"  # of times of events that do not name theirs, as in "Europe/Berlin"

    def __post_init__(self) -> None:
        try:
            time_zone(self.zone)
        except (ValueError, ZoneInfoNotFoundError) as error:
            raise ValueError(
                f"`zone` is {self.zone!r}, no time zone of this machine (see `timedatectl "
                "list-timezones`; the package tzdata brings them)"
            ) from error


Role = Literal["ingest", "ask", "prove", "label", "look", "decide", "admin"]
"""What a caller may: docs/how-to/say-who-may.md has every route with the role that it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTable:
    """[api.tokens.NAME]: a token of TCP, what its holder may, and who that is.

    `ingest` gives predictions, feedback, traces and logs; `ask` asks the champion of `flywheel
    serve`, and gives feedback there; `prove` asks any adapter that is loaded there; `label` answers
    the labelling queue and imports seeds; `look` reads figures; `decide` approves, rejects, rolls
    back, starts turns, disputes, and gives samples that judge; `admin` may everything. `label` and
    `decide` may look.
    """

    env: str  # environment variable, or systemd credential, that holds it; 32 characters or more
    role: Literal["", "ingest", "ask", "prove", "label", "look", "decide", "admin"] = ""  # it may
    roles: tuple[Role, ...] = ()  # the same where it is more than one
    person: str = ""  # login name of who holds it; "": a program, never counted as a person

    def __post_init__(self) -> None:
        if bool(self.role) == bool(self.roles):
            raise ValueError('say `role = "ingest"`, or `roles = ["ingest", "look"]`, and not both')
        if self.person in ("root", "nobody", "token", "unknown"):
            raise ValueError(f"`person` is {self.person}, nobody in particular; name a person")
        if self.person and not re.fullmatch(r"[A-Za-z_][\w.@-]{0,63}\$?", self.person):
            raise ValueError(f"`person` is {self.person!r}, which is no login name")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiTable:
    """[api]: the HTTP interface. The Unix socket is always there; TCP is off by default."""

    tcp: str = ""  # "127.0.0.1:8765"; needs a token
    token_env: str = ""  # variable, or systemd credential, with a token that may everything
    tokens: dict[str, TokenTable] = field(default_factory=dict)  # each a table [api.tokens.NAME]
    ingest_socket: str = ""  # "/run/flywheel/ingest.sock": a Unix socket that only takes events
    ingest_group: str = ""  # of its callers; "": the daemon's own group
    max_body_mb: int = 32  # a larger body is refused with 413
    max_line_kb: int = 256  # a longer line of a batch is rejected

    def __post_init__(self) -> None:
        for name in self.tokens:
            if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,63}", name):
                raise ValueError(f"a token cannot be called {name!r}: use letters, digits, . _ -")
        if self.ingest_group and not self.ingest_socket:
            raise ValueError("`ingest_group` is set, but `ingest_socket` is not")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTable:
    """[model]: the base that adapters are trained on."""

    base: str = "bundled:all-minilm-l6-v2"  # or a name of `flywheel base list`, a hub id, a folder
    device: str = "auto"  # "cpu", "cuda", "cuda:1"; auto: a CUDA device where there is one
    threads: int = 2  # processor threads of a worker
    max_length: int = 64  # tokens; longer texts are cut

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"`device` is {self.device!r}, not auto, cpu, cuda or cuda:NUMBER")


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentsTable:
    """[intents]: what may be called, and when an intent counts as failing."""

    file: str = "intents.toml"  # or a JSON file with a list of tools
    max_error_rate: float = 0.10  # failing when the interval's lower bound is above this
    confidence: float = 0.95  # of the Wilson interval
    window_days: int = 30  # feedback older than this is not judged
    context_turns: int = 0  # earlier user messages put before the last one


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTable:
    """[sources.NAME]: one source of events; every further key is an option of the plugin."""

    plugin: str  # built-in name, plugins/NAME.py, or entry point in `flywheel.sources`
    samples: bool = False  # it may give samples, golden ones too, and not only production's events
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackTable:
    """[feedback]: which scores of other tools are verdicts; `[feedback.scores]` may be a table.

    Without a rule only thumbs, flags and corrections by people count. A rule is one of `thumbs`,
    `boolean`, `boolean inverted` (true is wrong), `LOW..HIGH >= N` (also `<=`, `>`, `<`; numbers
    outside the scale do not count), `labels good, fine / bad, poor` (right / wrong), `correction`,
    `ignore`. A name may stand behind its format: `"langfuse:stars"`. `flywheel feedback scores`
    lists the names that were seen, each with the line to add.
    """

    scores: dict[str, str] = field(default_factory=dict)  # { stars = "1..5 >= 4", note = "ignore" }


@dataclass(frozen=True, slots=True, kw_only=True)
class RatersTable:
    """[raters]: whose word weighs more. A rater is who an event says gave the verdict."""

    experts: tuple[str, ...] = ()  # raters whose `rater_kind` expert counts; any other is a user
    trusted: tuple[str, ...] = ()  # raters whose word alone lets a turn learn new wording
    independent: int = 3  # voices it takes otherwise, at least; 0: raters need not be independent
    share: float = 0.10  # and more than this share of all voices

    def __post_init__(self) -> None:
        if self.independent < 0 or not 0 <= self.share < 1:
            raise ValueError(
                f"`independent` is {self.independent} and `share` {self.share}, "
                "not 0 or more and not in 0..1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherTable:
    """[teacher]: the LLM that writes samples; off while `base_url` is empty."""

    base_url: str = ""  # any OpenAI-compatible endpoint
    model: str = ""
    api_key_env: str = ""  # environment variable, or systemd credential, that holds the key
    max_concurrency: int = 8
    max_retries: int = 4  # on 429, 5xx, timeouts and cut connections
    requests_per_minute: int = 0  # 0: as fast as max_concurrency allows
    tokens_per_minute: int = 0  # in and out, by estimate; 0: no limit
    timeout_s: float = 60.0  # of one request
    redact: bool = True  # hide e-mail, phone, card, ID numbers and keys in what is sent
    names_model: str = ""  # spaCy pipeline, installed or a folder: names of people are hidden too
    usd_per_million_input: float = 0.0
    usd_per_million_output: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisTable:
    """[synthesis]: how much the teacher is asked for in one turn."""

    max_samples: int = 400  # of a turn
    per_intent: int = 20  # samples asked for per failing intent
    per_request: int = 10  # samples asked for in one request
    failed_texts: int = 10  # failed production texts shown in a brief
    max_usd: float = 5.0  # no further request is started above this
    max_tokens: int = 0  # the same in tokens, in and out; 0: no limit
    verify: bool = True  # a second question without the label must give the same label


@dataclass(frozen=True, slots=True, kw_only=True)
class CurationTable:
    """[curation]: which samples are kept."""

    near_duplicate: float = 0.95  # word-set Jaccard against kept samples
    leak: float = 0.80  # word-set Jaccard against golden, fresh and dev
    paraphrase: float = 0.98  # cosine of a written text to a kept one of its intent
    copied: float = 0.90  # share of a written text's words that stand in one failed text it saw
    noise_precision: float = 0.80  # share of the labels refused as wrong that is wrong, at least
    noise_ratio: float = 1.5  # none is refused unless another intent fits this many times better
    noise_share: float = 0.5  # of an intent's unverified labels that may be refused so
    noise_folds: int = 5
    noise_on_dev: bool = True  # learn the labels as they came where dev does better so
    rater_cap: float = 0.3  # share of an intent's feedback from one rater; 1: no bound

    def __post_init__(self) -> None:
        if not 0.5 <= self.noise_precision < 1:
            raise ValueError(f"`noise_precision` is {self.noise_precision}, not in 0.5..1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabellingTable:
    """[labelling]: what a person is asked with `flywheel samples label`."""

    first: int = 200  # texts of traffic that make and judge a first champion; 0: none are asked
    audit: float = 0.01  # share of traffic, drawn by lot, that tells how production really does
    health: int = 20  # texts at a time that tell whether doubtful intents fail; 0: none are asked
    uncertain: float = 0.50  # predictions less confident than this are asked about
    second_opinion: float = 0.10  # share of what is asked that two people are asked
    doubted: int = 30  # texts whose label the last turn doubts that are asked about; 0: none
    disputes: int = 10  # rows of a golden generation that one person may dispute

    def __post_init__(self) -> None:
        for name in ("audit", "uncertain", "second_opinion"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}, not in 0..1")
        for name in ("first", "health", "doubted"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` is {getattr(self, name)}, not 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggersTable:
    """[schedule.triggers]: what opens a turn between the slots of the schedule."""

    feedback: int = 0  # this much new feedback since the last turn; 0 is off
    failing_intents: int = 0  # this many failing intents, and new feedback; 0 is off
    drift: bool = False  # an alarm on last week's traffic, and new feedback
    cooldown_minutes: float = 360.0  # after any turn's end
    turns_per_day: int = 4  # of any kind, in 24 hours; beyond it no trigger opens one


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleTable:
    """[schedule]: when turns start."""

    cron: str = "0 3 * * *"  # UTC, five fields, weekdays by name; "" starts none
    triggers: TriggersTable = TriggersTable()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTable:
    """[training]: how adapters are trained."""

    recipe: str = "balanced"  # quick, balanced, thorough or auto; see docs/explanation/learning.md
    budget_minutes: float = 10.0  # of one core, for `auto` to try recipes and train the best
    seed: int = 0
    refit: bool = True  # after choosing on dev, train once more with the dev samples too
    balance: float = 1.0  # 0: every sample weighs the same; 1: every intent does, in sum
    half_life_days: float = 0.0  # older feedback weighs half; 0: age does not count
    intent_names: bool = True  # learn the name of an intent with at most ten samples
    unlabelled: int = 0  # production texts without a label to learn from, by what the model says
    threshold_texts: int = 500  # others that put the out-of-scope threshold; none is learned
    min_new_samples: int = 1  # fewer new samples than this: the turn ends without training
    timeout_minutes: float = 60.0  # a job that takes longer is killed

    def __post_init__(self) -> None:
        if self.half_life_days < 0:
            raise ValueError(f"`half_life_days` is {self.half_life_days}, not 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorTable:
    """[executor]: where jobs run."""

    kind: str = "local"  # processes of this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class HooksTable:
    """[promotion.hooks]: what is told of a decision, after it is committed."""

    command: tuple[str, ...] = ()  # program and arguments; the event is JSON on its standard input
    command_env: tuple[str, ...] = ()  # variables it gets beside PATH, HOME, LANG and their like
    webhook: str = ""  # URL that the event is posted to as JSON
    token_env: str = ""  # variable, or systemd credential, with the webhook's bearer token
    events: tuple[str, ...] = (
        "held",
        "promoted",
        "rejected",
        "rolled_back",
        "parity_failed",
        "harm",
    )
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionTable:
    """[promotion]: who decides."""

    mode: Literal["auto", "review"] = "review"  # review: a person approves what the gates pass
    bootstrap: Literal["auto", "review"] = "review"  # the same for the first champion
    hold_days: float = 14.0  # a held decision expires after this
    large_gain: float = 0.05  # with this overall gain, harm to one intent is for a person to weigh
    allow_override: tuple[str, ...] = ()  # gates a person may override by name; never hygiene
    approvals: Literal[1, 2] = 1  # different people it takes to approve
    hooks: HooksTable = HooksTable()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """config.toml, checked whole."""

    flywheel: FlywheelTable = FlywheelTable()
    api: ApiTable = ApiTable()
    model: ModelTable = ModelTable()
    intents: IntentsTable = IntentsTable()
    sources: dict[str, SourceTable] = field(default_factory=dict)
    feedback: FeedbackTable = field(default_factory=FeedbackTable)
    raters: RatersTable = RatersTable()
    teacher: TeacherTable = TeacherTable()
    synthesis: SynthesisTable = SynthesisTable()
    curation: CurationTable = CurationTable()
    labelling: LabellingTable = LabellingTable()
    schedule: ScheduleTable = ScheduleTable()
    training: TrainingTable = TrainingTable()
    executor: ExecutorTable = ExecutorTable()
    gates: GatesTable = field(default_factory=GatesTable)
    promotion: PromotionTable = PromotionTable()
    serving: ServingTable = field(default_factory=ServingTable)
    watch: WatchTable = field(default_factory=WatchTable)
    path: Path = Path("config.toml")  # where it was read from; not a key
    overrides: tuple[str, ...] = ()  # variables of the environment that set keys; not a key

    @property
    def root(self) -> Path:
        """The folder that relative paths of the file start from."""
        return self.path.parent

    @property
    def state_dir(self) -> Path:
        """The folder of everything that must survive."""
        return (self.root / self.flywheel.state_dir).resolve()

    @property
    def socket_path(self) -> Path:
        """The Unix socket the daemon answers on."""
        return self.state_dir / "flywheel.sock"

    @property
    def serve_path(self) -> Path:
        """The Unix socket that `flywheel serve` answers on."""
        return (self.state_dir / self.serving.socket).resolve()

    @property
    def ingest_path(self) -> Path | None:
        """The Unix socket that only takes events; None: there is none."""
        name = self.api.ingest_socket
        return (self.root / name).resolve() if name else None
