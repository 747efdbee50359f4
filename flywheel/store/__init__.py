"""Everything that lasts: one DuckDB file, the only importer of duckdb.

`open_store` gives the `Store`; `Store.write()` and `Store.read()` give connections; the modules
beside hold the SQL, one table family each, as functions of a connection.
"""

from flywheel.errors import DiskFull, StoreFailed
from flywheel.store import (
    adapters,
    archive,
    catalog,
    champion_answers,
    championship,
    consistency,
    decisions,
    events,
    golden_set,
    health,
    redo,
    restoring,
    retention,
    retired,
    samples,
    schema,
    seal,
    segments,
    spooled,
    teacher,
    traffic,
    turns,
)
from flywheel.store.columns import Connection
from flywheel.store.connecting import Settings, lower_priority
from flywheel.store.database import (
    Store,
    open_store,
    prove,
)
from flywheel.store.file_copies import copy_file
from flywheel.store.replay import Recovery

__all__ = [
    "Connection",
    "DiskFull",
    "Recovery",
    "Settings",
    "Store",
    "StoreFailed",
    "adapters",
    "archive",
    "catalog",
    "champion_answers",
    "championship",
    "consistency",
    "copy_file",
    "decisions",
    "events",
    "golden_set",
    "health",
    "lower_priority",
    "open_store",
    "prove",
    "redo",
    "restoring",
    "retention",
    "retired",
    "samples",
    "schema",
    "seal",
    "segments",
    "spooled",
    "teacher",
    "traffic",
    "turns",
]
