"""A person's labels: what is asked, of whom, and what the answers of several people come to. Pure.

Nothing here shows a model's answer beside a text whose label is evidence on models.
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
