"""flywheel keeps a small production model getting better by itself."""

__version__ = "0.1.0"
