"""Samples to signals to incidents: catalogue, detectors, correlation. Pure."""
