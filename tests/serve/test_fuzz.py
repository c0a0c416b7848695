"""Requests made up from the service's own description: none is answered with a fault, or out of form."""

from __future__ import annotations

from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from linkwise.serve.app import make_app

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


def test_any_request_is_answered_in_form(runs: Path) -> None:
    document = schemathesis.openapi.from_asgi("/v1/openapi.json", make_app(runs))
    for found in document.get_all_operations():

        @given(case=found.ok().as_strategy())
        @settings(
            max_examples=25,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def check(case: Case) -> None:
            case.call_and_validate(checks=CHECKS)

        check()
