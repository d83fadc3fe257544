from __future__ import annotations

import itertools
from types import SimpleNamespace

from celerant.common.foreign import args_of, stored_as
from celerant.tasks.retry import _backoff


class RaisesItself(type):
    def __hash__(cls):
        raise cls("again")


class HostileError(Exception, metaclass=RaisesItself):
    pass


class EndlessError(Exception):
    @property
    def args(self):
        return itertools.islice(itertools.count(), 10_000)


def test_a_class_that_cannot_be_hashed_has_a_name():
    assert stored_as(HostileError) == ("HostileError", __name__)


def test_arguments_that_are_no_tuple_are_those_given():
    assert args_of(EndlessError("why")) == ("why",)


def test_very_many_arguments_are_cut_to_the_first_and_a_number():
    exc = ValueError(*range(1_000_000))
    told = args_of(exc)
    assert told == (*range(999), "... 999,001 more")
    # Out of a child process it is an exception of these.
    assert args_of(ValueError(*told)) == told
    assert args_of(ValueError(*range(1000))) == tuple(range(1000))


def test_a_backoff_after_any_number_of_retries_is_at_most_its_maximum():
    task = SimpleNamespace(
        retry_backoff=True, retry_backoff_max=600, retry_jitter=False
    )
    assert [_backoff(task, n) for n in (0, 3, 9, 10)] == [1, 8, 512, 600]
    # Far beyond any power of two that could be computed of it.
    assert _backoff(task, 10**18) == 600
    assert _backoff(task, -5) == 1
