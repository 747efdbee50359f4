"""JSON endpoints, metrics and the review page."""

from flywheel.api.app import create_app
from flywheel.api.process_status import Requests, Vitals

__all__ = ["Requests", "Vitals", "create_app"]
