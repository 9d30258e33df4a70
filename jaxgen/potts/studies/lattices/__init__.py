"""Lattices compared at equal training time."""
