"""A shop whose queue the test serves by hand, to mend groups of its tasks."""

from __future__ import annotations

from celerant.common.group_stamp import GROUP_STAMP
from harness.capture import drain

__all__ = ["Desk"]


class Desk:
    """The queue of a shop on memory://, which has no worker: the test is one."""

    def __init__(self, shop):
        self.echo, self.app = shop.echo, shop.app
        self.app.backend.obstacle = lambda: None
        self.app.backend.revoke = lambda *_, **__: None
        self.app.backend.revoke_by_stamped_headers = lambda *_, **__: None

    def take(self):
        """Return what has left since the last time, as (id, argsrepr, stamp)."""
        found = drain("memory://", self.app.conf.task_default_queue)
        return [
            (m.headers["id"], m.headers["argsrepr"], m.headers["stamps"][GROUP_STAMP])
            for m in found
        ]

    def finish(self, result, *indices, state="SUCCESS"):
        for index in indices:
            value = index if state == "SUCCESS" else ValueError("no")
            self.app.backend.store_result(result.roster.id(index), value, state)
