"""JSON endpoints, metrics and the review page."""

from flywheel.api.app import create_app
from flywheel.api.process_status import ProcessStatus, Requests

__all__ = ["ProcessStatus", "Requests", "create_app"]
