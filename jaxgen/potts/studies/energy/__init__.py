"""Joules per sample: counted, measured and projected."""
