"""Gradient estimators: equilibrium propagation and its relatives, predictive coding, exact references."""
