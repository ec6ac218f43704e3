"""The town of the commands' tests, for the doors' tests: with two versions, and with the second of them served."""

from tests.tidegate.conftest import built_serving, built_town, serving, town

__all__ = ["built_serving", "built_town", "serving", "town"]
