"""Foreign events to flywheel's records: one pure function a format, detection by shape.

A new format is one module with `NAME`, `recognises` and `read`, one entry in `dispatch`, and one
fixture.
"""

from flywheel.formats import native
from flywheel.formats.dispatch import (
    AUTO,
    FORMATS,
    KINDS,
    body_records,
    detect,
    numbered,
    parse,
    parsed_lines,
    parsed_records,
    read_body,
    read_lines,
)
from flywheel.formats.line_tally import LineTally, SkippedLines
from flywheel.formats.reading import BadEvent, Choice, Parsed, RejectedLine
from flywheel.formats.spool_lines import (
    USUAL,
    FeedbackLine,
    PredictionLine,
    RejectedEntry,
    Written,
    record_of,
    rows_of,
    write_body,
    write_usual,
)

__all__ = [
    "AUTO",
    "FORMATS",
    "KINDS",
    "USUAL",
    "BadEvent",
    "Choice",
    "FeedbackLine",
    "LineTally",
    "Parsed",
    "PredictionLine",
    "RejectedEntry",
    "RejectedLine",
    "SkippedLines",
    "Written",
    "body_records",
    "detect",
    "native",
    "numbered",
    "parse",
    "parsed_lines",
    "parsed_records",
    "read_body",
    "read_lines",
    "record_of",
    "rows_of",
    "write_body",
    "write_usual",
]
