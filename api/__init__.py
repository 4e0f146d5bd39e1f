"""The native HTTP API: what is kept in step, how it stands, and the copied records, as JSON."""
