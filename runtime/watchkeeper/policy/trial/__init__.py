"""Tests that an author writes beside the orders: cases, and the verdict that must come out."""
