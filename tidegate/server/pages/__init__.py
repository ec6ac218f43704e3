"""Pages for people: what a steward decides on and what an auditor reads, written by the server, whole without a script."""
