"""The views as their JSON: what commands and callers of the routes see."""

from functools import wraps

import msgspec

from flywheel.api import views


def _as_json(view):
    @wraps(view)
    def shown(*arguments, **options):
        return msgspec.json.decode(msgspec.json.encode(view(*arguments, **options)))

    return shown


intents = _as_json(views.intents)
turns_view = _as_json(views.turns_view)
turn_view = _as_json(views.turn_view)
decisions_view = _as_json(views.decisions_view)
decision_view = _as_json(views.decision_view)
adapters_view = _as_json(views.adapters_view)
status = _as_json(views.status)
preview = _as_json(views.preview)
