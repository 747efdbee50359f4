"""Every route, called in the ways that the OpenAPI document allows and in those that it forbids."""

import dataclasses

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from socket_caller import through_socket

from flywheel.api import create_app
from flywheel.api.routes import ROUTES
from flywheel.store import consistency


@pytest.fixture
def document(runtime, process_status):
    process_status = dataclasses.replace(process_status, restart=lambda: None)
    app = through_socket(create_app(runtime, process_status=process_status))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_no_call_is_a_defect_of_the_daemon(document, runtime, route):
    operation = document[route.path][route.method]

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE))
    def as_documented(case):
        assert case.call().status_code < 500

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE))
    def otherwise(case):
        assert case.call().status_code < 500

    as_documented()
    if route.body:
        otherwise()
    with runtime.store.read() as con:
        assert consistency.differences(con) == []
