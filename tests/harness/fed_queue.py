"""A queue whose messages the test itself finishes, as a worker would."""

from __future__ import annotations

from harness.capture import drain
from harness.until import until

__all__ = ["Queue"]


class Queue:
    """The messages that have left, which the test finishes as it likes."""

    def __init__(self, shop):
        self.app = shop.app
        # There is no worker: the test is one.
        shop.app.backend.obstacle = lambda: None
        self.left = []
        self.done = 0

    def look(self):
        """Return how many members have left by now."""
        found = drain("memory://", self.app.conf.task_default_queue)
        self.left += [message.headers["id"] for message in found]
        return len(self.left)

    def finish(self, count=1, state="SUCCESS"):
        """Let so many members be done, the oldest first."""
        for task_id in self.left[self.done : self.done + count]:
            value = self.done if state == "SUCCESS" else ValueError("no")
            self.app.backend.store_result(task_id, value, state)
            self.done += 1

    def finish_all(self, result):
        """Let members be done until the group is sealed and all of them are."""
        while not (result.members.barrier.is_sealed and self.done == self.look()):
            until(lambda: result.members.barrier.is_sealed or self.look() > self.done)
            self.finish(len(self.left))
