"""Ground states of spin glasses whose lowest energy is known by construction."""
