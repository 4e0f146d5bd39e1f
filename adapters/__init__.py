"""What reads the remotes: the adapter contract, the one HTTP client, and one adapter per system."""
