"""What every room may use: values told by class, processes, addresses, limits."""
