"""A person's labels: what is asked, of whom, and what the answers of several people come to. Pure.

Nothing here shows a model's answer beside a text whose label is evidence on models.
"""

from flywheel.labelling.forms import FORMS, Form, Read, interface
from flywheel.labelling.items import BLIND, KINDS, Item, Kind, item_id, kind_and_key, ordered
from flywheel.labelling.lots import bar, drawn, lot
from flywheel.labelling.words import Standing, Word, is_open, judged_twice, standings

__all__ = [
    "BLIND",
    "FORMS",
    "KINDS",
    "Form",
    "Item",
    "Kind",
    "Read",
    "Standing",
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
