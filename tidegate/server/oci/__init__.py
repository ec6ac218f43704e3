"""The OCI distribution API, to read: `skopeo`, `oras`, container registries and Ollama pull from here as they are."""
