"""Devices, precision, processes, recomputation: wrapped around a model from the outside. Models know none of it."""
