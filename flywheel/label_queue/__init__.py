"""The labelling queue over the store: items for a person, their answers, and the effects.

The rules are in `labelling`, which is pure.
"""

from flywheel.label_queue.answers import (
    LabelAnswer,
    agreement_of,
    asked,
    give,
    give_many,
    shown,
    undo,
)
from flywheel.label_queue.effects import settle

__all__ = ["LabelAnswer", "agreement_of", "asked", "give", "give_many", "settle", "shown", "undo"]
