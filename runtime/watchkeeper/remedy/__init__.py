"""Repair ladders: what to do next, what verifies it, what undoes it. Pure."""
