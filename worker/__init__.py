"""The worker: takes syncs off the queue and reads remotes page by page, as far as a slice goes."""
