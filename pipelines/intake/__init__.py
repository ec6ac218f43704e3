"""A source to a version: a folder or a Hugging Face repository becomes an immutable set of files.

The connected side's work. `hub.py` and `download.py` are the only code that reaches beyond the home's site.
"""
