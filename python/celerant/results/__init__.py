"""The way back: stored results, the consumer, and the classes that users hold."""

# The classes of results register themselves, and results made by id need all of them.
import celerant.results.group_result  # noqa: F401
