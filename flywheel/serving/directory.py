"""Serving by a shelf: servers on other machines take the champion from a folder or a bucket.

The adapter's files are there before `champion.json` names it, which is written last and only over
the version that this daemon saw. Nothing is asked before: each server checks the files' hashes and
the adapter's test vector before it answers with it, and every answer names the adapter, so that
any mix of versions is seen.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

from flywheel import files
from flywheel.errors import NotFound, Refused
from flywheel.serving.shelf import CHAMPION, Published, Shelf, announce, published


class Directory:
    """The shelf, and the adapters that are put there.

    Args:
        adapters_dir: the folder of the adapters.
        shelf: where they go.
        identity: file with the id of this daemon; written once.
    """

    immediate = False

    def __init__(self, adapters_dir: Path, shelf: Shelf, identity: Path) -> None:
        self._adapters = adapters_dir
        self._shelf = shelf
        self._identity = identity
        self._seen: str | None = None

    def promote(self, adapter_id: str) -> None:
        """Put the adapter there, then name it."""
        folder = self._adapters / adapter_id
        if Path(adapter_id).name != adapter_id or not folder.is_dir():
            raise NotFound(f"adapter {adapter_id} has no folder in {self._adapters}")
        standing = self._standing()
        if standing.adapter != adapter_id:
            hashes = files.hashes(folder)
            self._shelf.put(folder, hashes)
            self._announce(replace(standing, adapter=adapter_id, files=hashes))
        self._seen = adapter_id

    def retire(self) -> None:
        """Name no adapter."""
        standing = self._standing()
        if standing.adapter is not None:
            self._announce(replace(standing, adapter=None, files={}))
        self._seen = None

    def serving(self) -> str | None:
        """The adapter that was named last, as far as this process knows."""
        return self._seen

    def _standing(self) -> Published:
        """What is named there.

        Raises:
            Refused: another daemon named it.
        """
        standing = published(self._shelf)
        if standing.version and standing.daemon != self._own_id():
            raise Refused(
                f"{CHAMPION} in {self._shelf.where} is another daemon's, which serves "
                f"{standing.adapter or 'nothing'} there",
                hint="give each daemon a [serving] directory of its own; where that daemon is gone "
                f"for good, remove {CHAMPION}",
            )
        return standing

    def _announce(self, champion: Published) -> None:
        announce(self._shelf, replace(champion, daemon=self._own_id()))

    def _own_id(self) -> str:
        try:
            return self._identity.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            self._identity.parent.mkdir(parents=True, exist_ok=True)
            with files.replacing(self._identity) as staged:
                staged.write_text(secrets.token_hex(8) + "\n", encoding="utf-8")
            return self._identity.read_text(encoding="utf-8").strip()
