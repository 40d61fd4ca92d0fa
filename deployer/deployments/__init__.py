"""Use cases of deployments: how they queue, live and end, and why a push does or does not become one."""
