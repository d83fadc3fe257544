"""The way back: stored results, the consumer, and the classes that users hold."""

# The classes of results register themselves; making a result by its id needs all.
import celerant.results.group_result  # noqa: F401
