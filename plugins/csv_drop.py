"""CSV files dropped in `folder`: a row is an event, a column `slices.channel` makes an object."""

import csv
import json
from pathlib import Path

from flywheel import errors, protocols


class _CsvDrop:  # rename a file to *.csv when it is whole; files are read in order of their names
    def open(self, options, cursor):
        if set(options) != {"folder"}:
            raise errors.FlywheelError(f"csv_drop takes `folder`, not {sorted(options)}")
        self.folder, self.at = Path(options["folder"]), json.loads(cursor or '["", 0]')

    def poll(self, limit, timeout):
        if not self.folder.is_dir():
            raise errors.SourceUnavailable(f"{self.folder} is not a folder")
        for path in sorted(path for path in self.folder.glob("*.csv") if path.name >= self.at[0]):
            done = self.at[1] if path.name == self.at[0] else 0
            with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
                if rows := list(csv.DictReader(file))[done : done + limit]:
                    self.at = [path.name, done + len(rows)]
                    return protocols.Batch(events=[*map(_event, rows)], cursor=json.dumps(self.at))
        return None

    def ack(self, cursor): ...
    def close(self): ...


def _event(row, numbers=("confidence", "latency_ms")):
    event = {}
    for column, cell in ((column, cell) for column, cell in row.items() if cell):
        name, _, inner = str(column).partition(".")
        value = float(cell) if name in numbers and cell.replace(".", "").isdecimal() else cell
        event[name] = {**event.get(name, {}), inner: value} if inner else value
    return event


source = _CsvDrop
