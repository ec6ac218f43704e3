"""The engine drivers on the real engines, each installed once in an environment of its own."""
