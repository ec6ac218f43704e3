"""The API for tests: a town's site, asked in this process by people with these rights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests import server_world
from tests.tidegate.town import Town

if TYPE_CHECKING:
    from starlette.testclient import TestClient

EVERYTHING = "viewer,importer,validator,steward,auditor,admin"
OPERATIONS = "/api/v1/operations"


@contextmanager
def asked(town: Town, grants: str = EVERYTHING, *, name: str = "ines") -> Iterator["TestClient"]:
    """The site's doors, for an account with these grants; a bug's traceback comes through."""
    token = server_world.token(town.site.home, name, grants)
    with server_world.door(town.site.home, token=token) as client:
        yield client


def bearer(town: Town, grants: str, *, name: str) -> dict[str, str]:
    """The headers of somebody else."""
    return {"authorization": f"Bearer {server_world.token(town.site.home, name, grants)}"}
