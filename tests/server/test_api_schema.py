"""The API against its own description: whatever fits it, and whatever does not, is answered as described.

Some requests of each address by default; TIDEGATE_API_EXAMPLES=50 tries longer.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import checks

from tests.server.api_world import OPERATIONS, asked
from tests.tidegate.town import Town
from tidegate.server.api.openapi import description

QUICK = 2
EXAMPLES = int(os.environ.get("TIDEGATE_API_EXAMPLES", QUICK))
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def client(built_serving: Town, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tests.tidegate import town as making

    with asked(making.copy(built_serving, tmp_path_factory.mktemp("api") / "town")) as client:
        yield client


def described() -> Any:
    """Every address; in a quick run every resource, and every fourth operation."""
    whole = description()
    if EXAMPLES > QUICK:
        return schemathesis.openapi.from_dict(whole)
    operations = [path for path in whole["paths"] if path.startswith(f"{OPERATIONS}/")]
    left_out = set(operations) - set(operations[::4])
    return schemathesis.openapi.from_dict(
        whole | {"paths": {path: item for path, item in whole["paths"].items() if path not in left_out}}
    )


api = described()


@api.parametrize()  # type: ignore[untyped-decorator]
@settings(
    max_examples=EXAMPLES, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    derandomize=EXAMPLES <= QUICK, database=None,
)  # fmt: skip
def test_every_address_answers_as_it_is_described(case: Any, client: Any) -> None:
    request = case.as_transport_kwargs(base_url="http://127.0.0.1", headers=dict(client.headers))
    request.pop("cookies", None)
    if isinstance(request.get("data"), bytes | str):
        request["content"] = request.pop("data")
    answer = client.request(**request)
    case.validate_response(answer, checks=CHECKS)
    assert answer.status_code != 500
