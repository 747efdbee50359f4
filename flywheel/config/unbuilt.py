"""Keys that may be set and that nothing acts on yet: each is a problem that is said, not a silence.

Pure: a configuration in, words out.
"""

from __future__ import annotations

from flywheel.config.tables import Config, WatchTable


def without_effect(config: Config) -> tuple[str, ...]:
    """What the configuration asks for in vain; empty with the shipped one.

    >>> without_effect(Config())
    ()
    """
    if config.watch == WatchTable():
        return ()
    return (
        f'[watch] is set (mode = "{config.watch.mode}"), but nothing watches a new champion yet: '
        "look at `flywheel intents`, and go back with `flywheel adapters rollback`; "
        'mode = "off" ends this warning',
    )
