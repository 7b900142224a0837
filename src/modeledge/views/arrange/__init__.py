"""How a corrupted batch is laid out for an architecture. Pure functions, no randomness of their own where avoidable."""
