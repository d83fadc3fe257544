"""The way results come: one thread per process and backend takes them in."""
