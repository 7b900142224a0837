"""modeledge."""
