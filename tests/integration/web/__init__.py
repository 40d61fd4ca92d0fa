"""The web process over real HTTP: webhooks, the session API, live logs, pages, and what must never happen."""
