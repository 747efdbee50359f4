"""config.toml and intents.toml, checked whole at start.

An unknown key is refused with the nearest known name, a wrong type with the file and line.
Secrets are never in the file: it names an environment variable or a systemd credential.
"""

from flywheel.config.changes import changed, live, needs_restart
from flywheel.config.intents import load_intents
from flywheel.config.load import load, secret
from flywheel.config.rules import (
    CalibrationRule,
    CustomRule,
    FreshRule,
    GatesTable,
    HygieneRule,
    IntentsRule,
    LatencyRule,
    MustPassRule,
    OutOfScopeRule,
    OverallRule,
    SlicesRule,
)
from flywheel.config.tables import (
    ApiTable,
    Config,
    CurationTable,
    ExecutorTable,
    FlywheelTable,
    HooksTable,
    IntentsTable,
    LabellingTable,
    ModelTable,
    PromotionTable,
    ScheduleTable,
    ServingTable,
    SourceTable,
    SynthesisTable,
    TeacherTable,
    TrainingTable,
    TriggersTable,
    WatchTable,
)
from flywheel.config.unbuilt import without_effect

__all__ = [
    "ApiTable",
    "CalibrationRule",
    "Config",
    "CurationTable",
    "CustomRule",
    "ExecutorTable",
    "FlywheelTable",
    "FreshRule",
    "GatesTable",
    "HooksTable",
    "HygieneRule",
    "IntentsRule",
    "IntentsTable",
    "LabellingTable",
    "LatencyRule",
    "ModelTable",
    "MustPassRule",
    "OutOfScopeRule",
    "OverallRule",
    "PromotionTable",
    "ScheduleTable",
    "ServingTable",
    "SlicesRule",
    "SourceTable",
    "SynthesisTable",
    "TeacherTable",
    "TrainingTable",
    "TriggersTable",
    "WatchTable",
    "changed",
    "live",
    "load",
    "load_intents",
    "needs_restart",
    "secret",
    "without_effect",
]
