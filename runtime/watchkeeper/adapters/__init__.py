"""Thin, one file for each thing outside."""
