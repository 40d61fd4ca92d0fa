"""``make bench``: what is fast and small, measured. Never part of the tests: machines are shared and noisy."""
