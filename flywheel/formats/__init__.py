"""Foreign events to flywheel's records: one pure function a format, detection by shape.

A new format is one module with `NAME`, `recognises` and `read`, one entry in `dispatch`, and one
fixture.
"""

from flywheel.formats import native
from flywheel.formats.dispatch import AUTO, FORMATS, KINDS, detect, parse
from flywheel.formats.lines import read_body, read_lines
from flywheel.formats.reading import BadEvent, Choice, Parsed, RejectedLine

__all__ = [
    "AUTO",
    "FORMATS",
    "KINDS",
    "BadEvent",
    "Choice",
    "Parsed",
    "RejectedLine",
    "detect",
    "native",
    "parse",
    "read_body",
    "read_lines",
]
