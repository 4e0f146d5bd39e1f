"""The demo: a story with three living, simulated remotes."""
