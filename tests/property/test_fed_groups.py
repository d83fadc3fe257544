"""Fed groups against a model of sets: fed, finished, failed, cancelled, mended."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from celerant import Celerant, group
from celerant.errors import CanvasError
from harness.capture import drain
from harness.until import until

NAME = "celerant-test-fed-model"


class FedGroup(RuleBasedStateMachine):
    """The test is the worker: it finishes what has left."""

    def __init__(self):
        super().__init__()
        self.app = Celerant(NAME, set_as_current=False)
        self.app.backend.obstacle = lambda: None
        self.app.backend.revoke_by_stamped_headers = lambda *_, **__: None
        drain("memory://", NAME)

    @initialize(
        size=st.integers(0, 25), window=st.integers(1, 9), is_list=st.booleans()
    )
    def send(self, size, window, is_list):
        self.size, self.window, self.is_list = size, window, is_list
        self.part = max(1, window // 4)
        # The model: what is to leave, what waits in the queue, what waits there and is
        # cancelled, and how members that are done ended.
        self.due = set(range(size))
        self.queued: list[int] = []
        self.dropping: list[int] = []
        self.ended: dict[int, str] = {}
        self.is_paused = self.was_cancelled = False
        #: What had not left as it was stopped.
        self.halted: set[int] = set()
        source = self.source() if is_list else iter(self.source())
        self.members = group(source, app=self.app)
        self.result = self.members.apply_async(window=window)
        self.take()

    def source(self):
        return [self.app.signature("fed", (i,)) for i in range(self.size)]

    def teardown(self):
        self.app.close()
        drain("memory://", NAME)

    # -- the model ---------------------------------------------------------------

    @property
    def is_full(self):
        """Whether there is no room that is worth a turn."""
        return len(self.queued) > self.window - self.part

    def take(self, *, at_once=False):
        """Wait for what is to leave, and take it into the model.

        It waits for all of it: what is drawn next must not depend on the time.

        Args:
            at_once: Whether what is due leaves whether that is worth a turn or not.
        """
        roster = self.result.members.roster
        queued = len(self.queued)
        if not self.is_paused and (at_once or not self.is_full):
            queued = min(self.window, queued + len(self.due))

        def have_left():
            for message in drain("memory://", NAME):
                index = roster.index(message.headers["id"])
                self.due.remove(index)
                self.queued.append(index)
            return len(self.queued) >= queued

        until(have_left)
        assert len(self.queued) == queued

    def store(self, index, state):
        value = index if state == "SUCCESS" else ValueError("no")
        self.app.backend.store_result(self.result.roster.id(index), value, state)
        self.ended[index] = state

    # -- what happens --------------------------------------------------------------

    @rule(data=st.data())
    @precondition(lambda self: self.queued)
    def finish(self, data):
        index = data.draw(st.sampled_from(sorted(self.queued)))
        self.queued.remove(index)
        self.store(index, data.draw(st.sampled_from(["SUCCESS", "FAILURE"])))
        self.take()

    @rule()
    def pause(self):
        self.take()
        self.result.pause()
        self.is_paused = not self.result.feeding.is_over
        self.take()

    @rule()
    def go_on(self):
        self.result.resume_feeding()
        self.is_paused = False
        self.take()

    @rule()
    @precondition(lambda self: not self.is_paused)
    def stop(self):
        """Too many have failed, say."""
        self.take()
        if self.due:
            self.result.feeding.stop("stop_if")
            self.halted = set(self.due)
            self.due.clear()
            assert self.result.stopped_by == "stop_if"
            until(lambda: self.result.members.barrier.is_sealed)

    @rule()
    @precondition(lambda self: not self.is_paused)
    def resume(self):
        self.take()
        if self.was_cancelled or self.due:
            return
        until(lambda: self.is_full or self.result.members.barrier.is_sealed)
        try:
            self.members.resume(self.result)
        except CanvasError:
            # Without room nobody has looked whether all that is sent again has left.
            assert self.is_full
            return
        self.due |= self.halted
        self.halted.clear()
        self.take()

    @rule()
    def cancel(self):
        self.take()
        before = sum(state != "REVOKED" for state in self.ended.values())
        done, running, cancelled = self.result.cancel()
        until(self.result.ready)
        assert (running, done + cancelled) == (0, len(self.result))
        for index in self.queued:
            self.ended[index] = "REVOKED"
        self.dropping += self.queued
        self.is_paused, self.was_cancelled = False, True
        self.queued = []
        self.due.clear()
        self.take()
        found = self.result.counts()
        assert found["SUCCESS"] + found["FAILURE"] == before

    @rule()
    @precondition(lambda self: self.dropping)
    def drop(self):
        """A worker finds what is cancelled."""
        while self.dropping:
            self.store(self.dropping.pop(), "REVOKED")

    @rule(which=st.sampled_from(["failed", "missing"]))
    @precondition(lambda self: not self.is_paused)
    def retry(self, which):
        self.take()
        if not self.due and not self.is_full:
            until(lambda: self.result.members.barrier.is_sealed)
        # While there is no room nobody has looked whether that was all.
        is_sealed = self.result.members.barrier.is_sealed
        assert not (is_sealed and self.due)
        state = "FAILURE" if which == "failed" else "REVOKED"
        chosen = {index for index, end in self.ended.items() if end == state}
        if which == "missing":
            known = range(len(self.result.members.barrier))
            chosen |= set(known) - self.ended.keys() - {*self.queued, *self.due}
        is_refused = not is_sealed or bool(chosen & {*self.dropping})
        try:
            self.result.retry(which, source=self.source())
        except CanvasError:
            assert is_refused
            return
        assert not is_refused
        self.due |= chosen
        self.halted -= chosen
        for index in chosen:
            self.ended.pop(index, None)
        # If there is room for all of them, nobody waits for more room.
        self.take(at_once=len(self.queued) + len(chosen) <= self.window)

    # -- what always holds -----------------------------------------------------------

    @invariant()
    def no_more_than_the_window_waits(self):
        if hasattr(self, "queued"):
            assert len(self.queued) <= self.window

    @invariant()
    def states_are_as_in_the_model(self):
        if not hasattr(self, "queued"):
            return
        self.result.members.begin()
        counts = self.result.members.barrier.count
        names = {"SUCCESS": 1, "FAILURE": 2, "REVOKED": 3}
        for name, state in names.items():
            expected = list(self.ended.values()).count(name)
            until(lambda state=state, expected=expected: counts(state) == expected)


TestFedGroup = FedGroup.TestCase
TestFedGroup.settings = settings(
    max_examples=150, stateful_step_count=15, deadline=None, phases=[Phase.generate]
)
