"""Wires: one file for each way to hand encoded messages to a broker."""
