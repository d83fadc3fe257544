"""The way back: stored results, the consumer, and what a user holds of a dispatch."""
