"""The runner: claims deployments, runs their commands, and keeps house."""
