"""Events on their way out: the envelope, and the relay from the outbox to the Redis stream."""
