"""Kills the runner and the web process, at random and at chosen points, and proves that nothing came of it."""
