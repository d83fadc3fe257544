"""The way back: stored results, the consumer, and what a user holds of a dispatch."""

# The classes of results register themselves: who makes one by its id needs them all.
import celerant.results.group_result  # noqa: F401
