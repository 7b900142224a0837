"""Normalisation of each state by itself. A kind is built with (config, width)."""
