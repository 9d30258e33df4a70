"""Comparison of lattices at equal training time."""
