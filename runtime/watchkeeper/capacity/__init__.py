"""What capacity to pay for, what it came to, and what a feed can carry. Pure; the only door to
OR-tools."""
