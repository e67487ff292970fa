"""The HTTP API against its own description: schemathesis makes the requests."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS, load_all_checks

from service_model import start

load_all_checks()
WANTED = CHECKS.get_by_names(
    ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
)


def operations():
    """Method and path of every operation; the models' names are those of the `server` fixture."""
    with start() as running:
        found = schemathesis.openapi.from_url(f"{running.url}/openapi.json").get_all_operations()
        return [(each.ok().method, each.ok().path) for each in found]


@pytest.mark.parametrize(("method", "path"), operations())
def test_it_answers_as_described(server, method, path):
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(schema[path][method.upper()].as_strategy())
    def attempt(case):
        case.call_and_validate(checks=WANTED)

    attempt()
