"""The published schemas and test vectors of OpenSSF Model Signing v1.0; tests/vectors/oms/NOTICE says where from."""

import base64
import json
from pathlib import Path
from typing import Any

import jsonschema
from referencing import Registry, Resource

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "oms"
_SCHEMAS = [json.loads(path.read_bytes()) for path in sorted((VECTORS / "schemas").glob("*.schema.json"))]
_REGISTRY: Registry[Any] = Registry().with_resources(
    (schema["$id"], Resource.from_contents(schema)) for schema in _SCHEMAS
)


def _validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((VECTORS / "schemas" / f"{name}.schema.json").read_bytes())
    return jsonschema.Draft202012Validator(schema, registry=_REGISTRY)


BUNDLE, STATEMENT = _validator("bundle"), _validator("statement")  # these refer to the other two


def statement_of(bundle: dict[str, Any]) -> Any:
    """Return what a signature file says, believed or not."""
    return json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
