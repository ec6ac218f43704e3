"""A version in the forms that OCI clients and Ollama read. Computed from the record: the same version, the same bytes.

The weights are never copied for it: a layer is a file as it is, under its own SHA-256. What is not a file of the
version (configurations, the artifacts of what was attested) is small, and made again whenever somebody asks.
"""
