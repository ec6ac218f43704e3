"""What `tests/make_vectors.py` writes, by kind."""
