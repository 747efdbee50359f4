"""JSON endpoints, metrics and the review page."""

from flywheel.api.app import create_app
from flywheel.api.prometheus import ProcessStatus

__all__ = ["ProcessStatus", "create_app"]
