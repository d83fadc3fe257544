"""Tasks: registered functions, how they steer their worker, those that all have."""
