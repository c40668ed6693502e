"""A cluster that lives in memory and is broken on purpose; it meets the same ports."""
