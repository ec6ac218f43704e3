"""Clients as their users have them: other releases, each in an environment of its own."""
