from __future__ import annotations

import base64
import string
import zlib

import pytest

from celerant._core import Barrier
from celerant.errors import CelerantError, HandleError, ResultExpired
from celerant.results.handle import attach


@pytest.fixture
def shared(fake):
    """A backend that other processes could see."""
    kept = {}
    fake.supports_handles = True
    fake.put_aside = kept.__setitem__
    fake.take_aside = kept.get
    fake.handle_key = lambda: b"the store's own"
    fake.kept = kept
    return fake


def test_a_plain_group_needs_nothing_stored(shared, group_of):
    result = group_of(100_000, shared)
    again = attach(result.handle, shared)
    assert again == result
    assert again.roster.ids(0, 100_000) == result.roster.ids(0, 100_000)
    assert len(result.handle) < 200
    assert shared.kept == {}


def test_the_user_s_group_id_comes_along(shared, group_of):
    for group_id in ("orders-2026", "ü" * 300):
        result = group_of(2, shared, id=group_id)
        assert attach(result.handle, shared).id == group_id
        assert len(result.handle) < 200


def test_own_ids_ignored_and_unsent_members_are_kept_aside(shared, group_of):
    result = group_of(1000, shared, ignored=range(10, 20))
    result.roster.adopt(3, "mine")
    result.members.settle(range(500, 1000), Barrier.NOT_SENT)
    again = attach(result.handle, shared)
    assert again[3].id == "mine"
    assert again.members.barrier.states() == result.members.barrier.states()
    (stored,) = shared.kept.values()
    assert len(stored) < 200


def test_a_handle_whose_stored_part_is_gone_has_expired(shared, group_of):
    result = group_of(2, shared, ignored=[0])
    handle = result.handle
    shared.kept.clear()
    with pytest.raises(ResultExpired, match="is gone from"):
        attach(handle, shared)


def test_results_of_one_process_have_no_handle(memory, fake, group_of):
    with pytest.raises(CelerantError, match="live in this process alone"):
        _ = group_of(2, memory).handle
    fake.supports_handles = True
    fake.handle_key = lambda: b"key"
    handle = group_of(2, fake).handle
    with pytest.raises(CelerantError, match="live in this process alone"):
        attach(handle, memory)


def test_a_group_still_being_sent_has_no_handle_yet(shared, group_of):
    growing = Barrier()
    growing.grow(1)
    with pytest.raises(CelerantError, match="still being sent"):
        _ = group_of(1, shared, barrier=growing).handle


_BREAK = {
    "cut": lambda handle: handle[:-1],
    "one character": lambda handle: (
        handle[:30] + ("A" if handle[30] != "A" else "B") + handle[31:]
    ),
    "longer": lambda handle: handle + "AAAA",
    "another version": lambda handle: handle.replace("cel2.", "cel3."),
    "only the mark": lambda handle: handle[:5],
    "empty": lambda _: "",
    "not base64": lambda _: "cel2.é" + "x" * 300,
    "not text": lambda _: None,
    "bytes": lambda handle: handle.encode(),
    "other bits that say nothing": lambda handle: handle[:-1] + _next(handle[-1]),
    "of an older release": lambda handle: handle.replace("cel2.", "cel1."),
    "of 10 MB": lambda handle: handle + "A" * 10**7,
    "forged with a checksum": lambda _: _forged(checksum=True),
    "forged with no proof": lambda _: _forged(),
}


def _next(digit):
    """The next digit of base64, whose lowest bit is the only one that differs."""
    digits = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    return digits[digits.index(digit) ^ 1]


def _forged(*, checksum=False):
    """A handle that says 2**31 - 1 members, as a stranger makes one."""
    body = bytes(17) + (2**31 - 1).to_bytes(4, "big") + bytes(4)
    proof = zlib.crc32(body).to_bytes(4, "big") * 4 if checksum else bytes(16)
    return "cel2." + base64.urlsafe_b64encode(body + proof).rstrip(b"=").decode()


@pytest.mark.parametrize("how", _BREAK)
def test_a_broken_handle_is_refused(shared, group_of, how):
    with pytest.raises(HandleError, match="handle") as caught:
        attach(_BREAK[how](group_of(2, shared).handle), shared)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 200


def test_a_forged_handle_costs_nothing(shared, monkeypatch):
    monkeypatch.setattr(
        "celerant.results.handle.rebuilt", lambda *_, **__: pytest.fail("was believed")
    )
    monkeypatch.setattr(shared, "take_aside", lambda _: pytest.fail("was asked"))
    with pytest.raises(HandleError, match="was not made by an app on fake://"):
        attach(_forged(), shared)


def test_a_handle_of_another_store_is_refused(shared, group_of):
    handle = group_of(2, shared).handle
    shared.handle_key = lambda: b"another store's"
    with pytest.raises(HandleError, match="was not made by an app on"):
        attach(handle, shared)


def test_a_changed_stored_part_of_a_handle_is_refused(shared, group_of):
    result = group_of(2, shared, ignored=[0])
    ((name, stored),) = [(result.handle, 0), *shared.kept.items()][1:]
    bomb = zlib.compress(bytes(100 << 20))
    for forged in (b"", b"x", stored[:-1], stored[:16] + bomb, bomb):
        shared.kept[name] = forged
        with pytest.raises(HandleError, match="changed by somebody else"):
            attach(result.handle, shared)


def test_a_handle_has_less_than_200_bytes_whatever_it_says(shared, group_of):
    result = group_of(100_000, shared, id="i" * 64, ignored=range(0, 100_000, 2))
    assert len(result.handle) < 200
    assert attach(result.handle, shared).id == "i" * 64
