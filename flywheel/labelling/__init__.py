"""Labelling by people: queue items, their order, sampling, and the agreed label. Pure.

Items whose labels are evidence on models (`BLIND`) never show a model's answer.
"""

from flywheel.labelling.rules import (
    BLIND,
    KINDS,
    SHARES,
    Dealt,
    Item,
    Kind,
    Standing,
    Word,
    bar,
    dealt,
    drawn,
    is_open,
    item_id,
    judged_twice,
    kind_and_key,
    lot,
    ordered,
    standings,
)
from flywheel.labelling.tools import FORMS, Read, ToolFormat, interface

__all__ = [
    "BLIND",
    "FORMS",
    "KINDS",
    "SHARES",
    "Dealt",
    "Item",
    "Kind",
    "Read",
    "Standing",
    "ToolFormat",
    "Word",
    "bar",
    "dealt",
    "drawn",
    "interface",
    "is_open",
    "item_id",
    "judged_twice",
    "kind_and_key",
    "lot",
    "ordered",
    "standings",
]
