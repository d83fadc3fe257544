"""The states and values of a dispatch's members, and waits for them."""
