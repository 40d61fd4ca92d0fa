"""Real parts together: shells, git, sshd, processes, the runner."""
