"""Everything that lasts: one DuckDB file, the only importer of duckdb.

`open_store` gives the `Store`; `Store.write()` and `Store.read()` give connections; the modules
beside hold the SQL, one table family each, as functions of a connection.
"""

from flywheel.store import (
    adapters,
    agreement,
    archive,
    chain,
    decisions,
    disputes,
    events,
    generations,
    health,
    hooks,
    reports,
    restoring,
    retention,
    samples,
    schema,
    segments,
    sources,
    sums,
    teacher,
    turns,
)
from flywheel.store.columns import Connection
from flywheel.store.connection import Store, open_store, prove
from flywheel.store.copying import copy_file
from flywheel.store.failures import DiskFull, StoreFailed
from flywheel.store.opening import step_back

__all__ = [
    "Connection",
    "DiskFull",
    "Store",
    "StoreFailed",
    "adapters",
    "agreement",
    "archive",
    "chain",
    "copy_file",
    "decisions",
    "disputes",
    "events",
    "generations",
    "health",
    "hooks",
    "open_store",
    "prove",
    "reports",
    "restoring",
    "retention",
    "samples",
    "schema",
    "segments",
    "sources",
    "step_back",
    "sums",
    "teacher",
    "turns",
]
