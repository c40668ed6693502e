"""Measurements of the product against baselines, in one run each."""
