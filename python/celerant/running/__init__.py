"""A task's function and all that follows it, in a worker or in place."""
