"""Accounts of people whom somebody else vouches for: an identity provider, or the proxy's sign-on.

What they may do comes from their groups, by the table in server.toml; a group that is not in it gives nothing, and who
has no other one is not let in. Such an account is this provider's alone: a name that was given an account here by an
administrator is not taken over by whoever bears the same name elsewhere.
"""

from collections.abc import Collection, Mapping

from registry.access import Grant, parse_grants
from registry.accounts import Accounts, AccountUnfit
from registry.errors import NameUnusable
from tidegate.server.accounts.passkey_refusals import IdentityRefused
from tidegate.server.premises import Premises

VOUCHED = "identity provider"  # who set such an account's row; with the space in it, it is nobody's name


def vouched(
    premises: Premises, name: str, groups: Collection[str], roles: Mapping[str, tuple[str, ...]]
) -> frozenset[Grant]:
    """Return what somebody may do who was vouched for, and keep their account so.

    Args:
        roles: group to grants.

    Raises:
        IdentityRefused: no group that counts, a name that no account has, or an account that is kept here or ended.
    """
    grants = parse_grants(",".join(grant for group in groups for grant in roles.get(group, ())))
    if not grants:
        raise IdentityRefused(f"no group of {name[:64]!r} gives anybody anything here")
    with premises.store.view() as view:
        held = view.account(name)
    if held is not None and held.active and held.actor != VOUCHED:
        raise IdentityRefused(f"the account {name} is kept here; its owner signs in here, too")
    if held is None or not held.active or parse_grants(held.grants) != grants:
        accounts = Accounts(premises.store, actor=VOUCHED, now=premises.clock(), at_machine=False)
        try:
            accounts.become(name, grants)
        except (AccountUnfit, NameUnusable) as wrong:
            raise IdentityRefused(str(wrong)) from wrong
    return grants
