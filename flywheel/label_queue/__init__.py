"""The labelling queue of a running loop: what is asked of whom, the answers, and their effects.

The rules are in `labelling`, pure; here they meet the store.
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
