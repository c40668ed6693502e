"""Watchkeeper: an autonomous controller for GPU clusters that run Ray, under written policy."""

__version__ = "0.1.0"
