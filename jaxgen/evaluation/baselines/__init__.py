"""Exact models that every generator is compared with."""
