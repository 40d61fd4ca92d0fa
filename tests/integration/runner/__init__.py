"""The runner's promises, from a deployment's beginning to its end."""
