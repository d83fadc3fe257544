"""How results come: one thread for each backend of a process takes them in."""
