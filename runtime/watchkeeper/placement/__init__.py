"""Gangs, topology and capacity: what could run where. Pure."""
