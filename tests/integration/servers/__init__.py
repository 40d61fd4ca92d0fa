"""Servers: other hosts, reached over a real sshd, where projects run."""
