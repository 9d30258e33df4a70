"""Measures of a set of samples, one per file."""
