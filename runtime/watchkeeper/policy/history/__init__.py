"""Yesterday's decisions under other orders: honest replay, and what would have changed."""
