"""WHAT we hold and what is true of it: versions, contracts, approvals, pins, the audit log."""
