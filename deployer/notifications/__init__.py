"""What events owe people: an outbox, the mails in it, and how they are sent."""
