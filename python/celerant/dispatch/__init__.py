"""The way out: from a canvas to the broker."""
