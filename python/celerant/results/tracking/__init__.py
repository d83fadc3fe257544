"""The known states of a dispatch's members, and waiting for more."""
