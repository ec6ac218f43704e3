"""What of MLflow's protocol would change something, and the command that does it here (rule 6)."""

from dataclasses import dataclass

_TAKE_IN = "versions come in by `tidegate models add FOLDER --as NAMESPACE/NAME`, `tidegate models fetch` or a signed bundle"
_FACTS = (
    "what stands here about a version is read from its files and from signed decisions; `tidegate decisions list` "
    "shows those, and `tidegate models withdraw REF` says that a version may not serve any more"
)
_GONE = (
    "nothing that was recorded is deleted: `tidegate models withdraw REF` ends a version's service, and `tidegate gc` "
    "frees the space of what nobody needs"
)
_MOVE = (
    "a tier moves when its gate is open: `tidegate approvals request REF --tier TIER` asks the stewards, then `tidegate "
    "promote REF --tier TIER` moves it"
)
_BACK = "a tier goes back with `tidegate rollback MODEL --tier TIER`, and never serves nothing by an alias's removal"
_RUNS = (
    "no runs are kept here: name your own server with MLFLOW_TRACKING_URI and this one with MLFLOW_REGISTRY_URI; "
    "`tidegate suites run --mlflow URL` records a validation there"
)
_WEBHOOKS = "there are no webhooks here: `tidegate audit log` says what happened, and /metrics counts it"

_REGISTRY = {
    ("POST", "registered-models/create"): _TAKE_IN,
    ("POST", "registered-models/rename"): f"a model keeps its name for good; {_TAKE_IN}",
    ("PATCH", "registered-models/update"): _FACTS,
    ("DELETE", "registered-models/delete"): _GONE,
    ("POST", "registered-models/set-tag"): _FACTS,
    ("DELETE", "registered-models/delete-tag"): _FACTS,
    ("POST", "registered-models/alias"): _MOVE,
    ("DELETE", "registered-models/alias"): _BACK,
    ("POST", "model-versions/create"): _TAKE_IN,
    ("PATCH", "model-versions/update"): _FACTS,
    ("POST", "model-versions/transition-stage"): _MOVE,
    ("DELETE", "model-versions/delete"): _GONE,
    ("POST", "model-versions/set-tag"): _FACTS,
    ("DELETE", "model-versions/delete-tag"): _FACTS,
}
_READING = ("get", "list", "search")


@dataclass(frozen=True)
class No:
    """Why a request is refused: as a write that a command does, or as something that is not here."""

    writes: bool
    sentence: str


def why_not(method: str, route: str) -> No:
    """Say why a request that no endpoint takes is refused. `route`: behind `/api/2.0/mlflow/`."""
    known = _REGISTRY.get((method, route))
    if known is not None:
        return No(writes=True, sentence=f"Clients read here: {known}.")
    first, _, last = route.partition("/")
    if first in ("registered-models", "model-versions"):
        return No(writes=False, sentence=f"{method} {route} is nothing that Tidegate's registry answers to.")
    reading = method in ("GET", "HEAD") or last.rpartition("/")[2].startswith(_READING)
    why = _WEBHOOKS if first == "webhooks" else _RUNS
    return No(writes=not reading, sentence=f"{why[0].upper()}{why[1:]}.")


ARTIFACTS = f"Clients read here: {_TAKE_IN}."
