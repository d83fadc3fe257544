"""Tools for every room: values told apart by class, processes, addresses, limits."""
