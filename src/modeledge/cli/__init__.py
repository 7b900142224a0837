"""The command line: verbs only. Each parses, calls one function and prints; the work is in run/ and recipe/."""

from modeledge.cli import making, catalogue, asking, folders  # isort: skip  # the order of the help
from modeledge.cli._app import app, main

__all__ = ["app", "asking", "catalogue", "folders", "main", "making"]
