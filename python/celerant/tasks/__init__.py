"""Tasks: registered functions, the ways they steer their worker, and built-in ones."""
