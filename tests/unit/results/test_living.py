"""What an open group says of its size, and does not."""

from __future__ import annotations

import pickle

import pytest

from celerant.errors import CanvasError
from harness.groups import Fed, group_of
from harness.until import until


def test_a_group_has_no_size_before_its_seal(fed):
    result = fed.result
    assert not result.sealed
    assert result.size is None
    with pytest.raises(CanvasError, match="has 3 members so far"):
        len(result)
    fed.seal()
    assert result.sealed
    assert result.size == len(result) == 3


def test_an_open_group_shows_what_it_has(fed):
    result = fed.result
    assert "3 members so far" in repr(result)
    assert [member.index for member in result] == [0, 1, 2]
    assert [member.index for member in result.results] == [0, 1, 2]
    assert [member.index for member in result[:2]] == [0, 1]
    assert result[2].index == 2
    assert result.counts()["PENDING"] == 3
    assert bool(result)
    assert result == result  # noqa: PLR0124 - it must not ask for a length
    assert result != Fed(fed.members.backend).result
    fed.store(0)
    fed.grow(4)
    until(lambda: result.completed_count() == 1)
    assert len(result.results) == 4


@pytest.mark.parametrize("index", [-1, slice(-2, None), slice(None, None, -1)])
def test_an_open_group_has_no_end_to_count_from(fed, index):
    with pytest.raises(CanvasError, match="still being sent"):
        fed.result[index]
    fed.seal()
    assert fed.result[index]


def test_a_member_that_has_not_come_yet_may_come(fed):
    with pytest.raises(IndexError, match=r"no member 3: .* has 3 so far"):
        fed.result[3]
    fed.seal()
    with pytest.raises(IndexError, match=r"no member 3: .* has 3$"):
        fed.result[3]


def test_open_and_sealed_groups_of_one_id_differ(memory):
    one, other = group_of(2, memory, id="g"), group_of(2, memory, id="g")
    assert one == other
    longer = group_of(3, memory, id="g")
    assert one != longer


def test_an_open_group_is_neither_saved_nor_pickled(fed):
    with pytest.raises(CanvasError, match="still being sent"):
        fed.result.save()
    with pytest.raises(CanvasError, match="cannot be pickled"):
        pickle.dumps(fed.result)
