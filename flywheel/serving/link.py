"""Serving by a link: `adapters/champion` points to the adapter in service.

The link is replaced by a rename, so a reader sees the old adapter or the new one, never neither.
"""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path

from flywheel import files
from flywheel.errors import NotFound

CHAMPION = "champion"


class ChampionLink:
    """The link in `adapters_dir`. One thread promotes at a time."""

    immediate = True

    def __init__(self, adapters_dir: Path) -> None:
        self._folder = adapters_dir

    def promote(self, adapter_id: str) -> None:
        """Serve this adapter from now on; durable when it returns.

        Raises:
            NotFound: the adapter has no folder.
        """
        if not _plain(adapter_id) or not (self._folder / adapter_id).is_dir():
            raise NotFound(
                f"adapter {adapter_id} has no folder in {self._folder}",
                hint="see `flywheel adapters list`; a production model known by its answers "
                "cannot be served",
            )
        _share(self._folder / adapter_id)
        self._clear()
        if self.serving() == adapter_id:
            return
        staged = self._folder / f".{CHAMPION}.next"
        staged.symlink_to(adapter_id)
        staged.replace(self._folder / CHAMPION)
        files.sync(self._folder)

    def retire(self) -> None:
        """Serve none from now on; durable when it returns."""
        self._clear()
        if self.serving() is not None:
            (self._folder / CHAMPION).unlink()
            files.sync(self._folder)

    def _clear(self) -> None:
        """Remove what a promotion left that was killed half-way."""
        for staged in self._folder.glob(f".{CHAMPION}.*"):
            staged.unlink(missing_ok=True)

    def serving(self) -> str | None:
        """The adapter served now; None when there is none."""
        try:
            return str((self._folder / CHAMPION).readlink())
        except OSError:
            return None


def _plain(name: str) -> bool:
    return name not in ("", ".", "..", CHAMPION) and Path(name).name == name


def _share(adapter: Path) -> None:
    """Let whoever may list an adapter read its files; earlier versions kept weights at 0600."""
    readers = adapter.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
    for path in adapter.iterdir():
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_file() and mode | readers != mode:
            with contextlib.suppress(PermissionError):  # another owner's: it is theirs to say
                path.chmod(mode | readers)
