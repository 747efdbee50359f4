"""CSV files dropped in `folder`: a row is an event, a column `slices.channel` makes an object."""

import json
from pathlib import Path

from flywheel import errors, protocols
from flywheel.file_records import csv_rows
from flywheel.sources import rows


class _CsvDrop:  # rename a file to *.csv when it is whole; files are read in order of their names
    def open(self, options, cursor):
        if not {"folder"} <= set(options) <= {"folder", "encoding", "delimiter"}:
            raise errors.FlywheelError(f"not of csv_drop, or no `folder`: {sorted(options)}")
        self.reading = {name: value for name, value in options.items() if name != "folder"}
        self.folder, self.at = Path(options["folder"]), json.loads(cursor or '["", 0]')

    def poll(self, limit, timeout):
        if not self.folder.is_dir():
            raise errors.SourceUnavailable(f"{self.folder} is not a folder")
        for path in sorted(path for path in self.folder.glob("*.csv") if path.name >= self.at[0]):
            done = self.at[1] if path.name == self.at[0] else 0
            if events := self.events(path)[done : done + limit]:
                self.at = [path.name, done + len(events)]
                return protocols.Batch(events=events, cursor=json.dumps(self.at))
        return None

    def events(self, path):  # a file that cannot be read is one event, which is rejected
        try:
            with path.open("rb") as file:
                table = csv_rows.table(file, **self.reading)
                return [rows.event_of_csv(row, table, str(path)) for row in table.rows]
        except (OSError, errors.FlywheelError) as error:
            return [rows.unreadable(bytes(path), f"cannot be read: {error}")]

    def ack(self, cursor): ...
    def close(self): ...


source = _CsvDrop
