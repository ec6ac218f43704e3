"""The bundle: its documents (pure), its volumes as folders, and the readers and writers of both."""
