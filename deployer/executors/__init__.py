"""Where commands run: one contract (`base`), and a driver for each kind of place."""
