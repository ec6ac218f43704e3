"""What a ceremony changes, in words: the text that an officer reads before signing.

Computed from the new documents and the trust that they start from, by the very program that signs: what somebody
wrote beside them counts for nothing. Keys that stay are listed too: an officer who looks for strangers among the
names finds them also when the trust in the folder was forged to hold them already. Names and numbers stand here as they are in the documents; whoever shows the
text on a terminal makes them harmless (`tidegate.output.plain`).
"""

from collections.abc import Mapping

from securesystemslib.signer import Key
from tuf.api.metadata import Role, Root, TargetFile, Targets

from signing.drafts import Draft, shown_key
from signing.profiles import STATION_ROLES
from signing.times import rfc3339

_MOST = 40  # target paths named one by one


def changes(draft: Draft) -> list[str]:
    """Return one line per change, first what kind of ceremony it is."""
    lines = [
        f"Ceremony of {draft.origin}, profile {draft.profile}, begun {rfc3339(draft.made_at)}: {draft.kind}."
    ]
    if "root" in draft.documents:
        before = draft.base.root if draft.base.roots else None
        lines += _root(before, draft.root)
    for role in draft.documents:
        if role != "root":
            lines += _targets(draft, role)
    return lines


def _root(before: Root | None, after: Root) -> list[str]:
    number = (
        f"root {after.version}" if before is None else f"root {before.version} becomes root {after.version}"
    )
    lines = [f"{number}, valid until {rfc3339(after.expires)}."]
    then: tuple[Mapping[str, Role], Mapping[str, Key]] = (
        ({}, {}) if before is None else (before.roles, before.keys)
    )
    return lines + _roles(then, (after.roles, after.keys))


def _targets(draft: Draft, role: str) -> list[str]:
    after = draft.document(role)
    held = draft.base.opened(role).signed if role in draft.base.metadata else None
    before = held if isinstance(held, Targets) else None
    lines = [f"{role} {after.version}, valid until {rfc3339(after.expires)}."]
    lines += _roles(_delegations(before), _delegations(after))
    return lines + _listed(role, {} if before is None else before.targets, after.targets)


def _delegations(targets: Targets | None) -> tuple[Mapping[str, Role], Mapping[str, Key]]:
    if targets is None or targets.delegations is None:
        return {}, {}
    return targets.delegations.roles or {}, targets.delegations.keys


def _roles(
    before: tuple[Mapping[str, Role], Mapping[str, Key]], after: tuple[Mapping[str, Role], Mapping[str, Key]]
) -> list[str]:
    lines = [f"  {name} is no role any more." for name in sorted(before[0].keys() - after[0].keys())]
    for name, role in sorted(after[0].items()):
        old = before[0].get(name)
        if old is None or old.threshold != role.threshold or len(old.keyids) != len(role.keyids):
            was = "" if old is None else f" (was {old.threshold} of {len(old.keyids)})"
            lines.append(f"  {name}: {role.threshold} of {len(role.keyids)} keys must sign{was}.")
        held = [] if old is None else old.keyids
        lines += [f"  {name}: out   {_key(name, before[1], k)}" for k in held if k not in role.keyids]
        lines += [f"  {name}: in    {_key(name, after[1], k)}" for k in role.keyids if k not in held]
        kept = [k for k in role.keyids if k in held]
        lines += [f"  {name}: stays {_key(name, after[1], k)}" for k in kept]
        lines += [
            f"  {name}: from now on said to be {_key(name, after[1], k)}"
            for k in kept
            if k in after[1] and k in before[1] and after[1][k].to_dict() != before[1][k].to_dict()
        ]
    return lines


def _key(role: str, keys: Mapping[str, Key], keyid: str) -> str:
    if keyid not in keys:
        return f"key {keyid[:16]}…, which is not here"
    shown = shown_key(keys[keyid])
    return shown.replace("nobody named", "the station", 1) if role in STATION_ROLES else shown


def _listed(role: str, before: Mapping[str, TargetFile], after: Mapping[str, TargetFile]) -> list[str]:
    fresh = [path for path in sorted(after) if path not in before or before[path] != after[path]]
    gone = [path for path in sorted(before) if path not in after]
    lines = [
        f"  {role} vouches for {path}, SHA-256 {after[path].hashes.get('sha256', '?')}" for path in fresh
    ]
    lines += [f"  {role} no longer vouches for {path}" for path in gone]
    rest = len(lines) - _MOST
    return lines if rest <= 0 else [*lines[:_MOST], f"  and {rest} more like these"]
