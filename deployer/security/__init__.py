"""What keeps secrets secret and strangers out. Nothing here knows Flask or the tables."""
