"""The doors over HTTP: one process over one home, for clients that know nothing of Tidegate, browsers and programs.

Nothing here decides anything: each door translates a protocol into the functions that the command line calls, too.
"""
