"""The doors of Tidegate: the command line, settings and wiring. Everything else is below."""
