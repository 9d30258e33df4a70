"""Energies: networks, costs, Hopfield and predictive coding, energy functions, and their relaxation."""
