"""What forges send: each module verifies a delivery and turns it into a `Push`. They know no Flask and no tables."""
