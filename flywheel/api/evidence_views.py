"""What a decision's evidence lacks, and what a person may do about it."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from flywheel.api.personal import View


class OfferView(View):
    """What a person may do about a decision now."""

    do: Literal["approve", "reject", "label", "rollback", "turn"]
    override: list[str] | UnsetType = UNSET  # of an approval: gates to be overridden by name
    looked: str | UnsetType = UNSET  # of an approval: the word beside the texts to look at
    unproven: list[str] | UnsetType = UNSET  # of an approval: gates that it takes on trust
