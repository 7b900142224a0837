"""Recipes: YAML files read, laid over one another, validated and compared."""
