"""Labelling by people: queue items, their order, sampling, and the agreed label. Pure.

Items whose labels are evidence on models (`BLIND`) never show a model's answer.
"""

from flywheel.labelling.rules import (
    BLIND,
    KINDS,
    Item,
    Kind,
    Standing,
    Word,
    bar,
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
    "Item",
    "Kind",
    "Read",
    "Standing",
    "ToolFormat",
    "Word",
    "bar",
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
