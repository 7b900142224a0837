"""Compression: smaller models out of larger ones. Nothing yet."""
