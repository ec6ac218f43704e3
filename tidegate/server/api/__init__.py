"""The REST API: resources to read, and operations, which are the commands of the command line, to act."""
