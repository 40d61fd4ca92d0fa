"""The few lines of sh that start a durable command, under each shell that may be a host's ``/bin/sh``."""
