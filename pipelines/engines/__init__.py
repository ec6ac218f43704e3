"""Serving engines, asked over HTTP: which files they serve, and whether they answer at all."""
