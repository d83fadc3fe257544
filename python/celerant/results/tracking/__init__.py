"""What is known of the members of a dispatch, and waiting for more."""
