"""What follows from a journal: which members have left, may have, and have not."""

from __future__ import annotations

import base64

import pytest

from celerant.dispatch.journaling import MOST, Mark
from celerant.errors import JournalError
from celerant.sending.journal_past import Past

HEAD = {"celerant": 1, "seed": "00" * 16}
ALL = [[0, MOST]]


def past_of(*records):
    return Past.of("journal x", [HEAD, *records])


def epoch(number, rest=ALL, unknown=(), **more):
    begun = {"epoch": number, "rest": rest, "unknown": unknown, "total": None}
    return {**begun, **more}


def end(number, token, count=100, **more):
    told = {"end": None, "of": number, "token": token, "count": count}
    return {**told, "whole": True, "unsent": [], "unknown": [], **more}


def chunk(start, stop, low, has_generic=0):
    prints = base64.b64encode(bytes(2 * (stop - start))).decode()
    return [start, stop, low, has_generic, prints]


def test_nothing_has_left_of_a_group_whose_sender_did_not_begin():
    assert past_of().standing(None) == ([(0, MOST)], [], 0, None)


def test_without_a_mark_all_that_is_named_and_not_confirmed_is_unknown():
    past = past_of(epoch(1), chunk(0, 500, 0), chunk(500, 1000, 300))
    assert past.standing(None) == ([(1000, MOST)], [(300, 1000)], 1000, None)
    past = past_of(epoch(1), chunk(0, 500, 0), [500])
    assert past.standing(None) == ([(500, MOST)], [], 500, None)


def test_a_mark_leaves_nothing_unknown():
    past = past_of(epoch(1), chunk(0, 500, 0), chunk(500, 1000, 0))
    for position in (0, 500, 1000):
        number = Mark(1, position).pack()
        expected = ([(position, MOST)], [], position, None)
        assert past.standing(number) == expected


def test_a_member_of_several_messages_may_be_in_in_part():
    past = past_of(epoch(1), chunk(0, 500, 0))
    found = past.standing(Mark(1, 499, 1).pack())
    assert found == ([(500, MOST)], [(499, 500)], 500, None)


def test_no_mark_tells_of_members_that_go_another_way():
    past = past_of(epoch(1), chunk(0, 500, 0), chunk(500, 1000, 500, 1))
    found = past.standing(Mark(1, 500).pack())
    assert found == ([(1000, MOST)], [(500, 1000)], 1000, None)
    found = past.standing(Mark(1, 1000).pack())
    assert found == ([(1000, MOST)], [(500, 1000)], 1000, None)


def test_a_sender_that_goes_on_counts_from_what_it_is_to_send():
    rest = [[40, 60], [100, MOST]]
    past = past_of(epoch(1), chunk(0, 100, 0), epoch(2, rest), chunk(40, 120, 40))
    assert past.standing(None) == (
        [(120, MOST)],
        [(40, 60), (100, 120)],
        120,
        None,
    )
    found = past.standing(Mark(2, 0).pack())
    assert found == ([(40, 60), (100, MOST)], [], 100, None)
    assert past.standing(Mark(2, 120).pack()) == ([(120, MOST)], [], 120, None)
    # It was killed before the mark was its own.
    assert past.standing(Mark(1, 100).pack()) == ([(100, MOST)], [], 100, None)


def test_a_copy_is_refused_of_which_another_sender_went_on():
    past = past_of(epoch(1), chunk(0, 100, 0))
    with pytest.raises(JournalError, match="an older copy"):
        past.standing(Mark(2, 100).pack())
    with pytest.raises(JournalError, match="an older copy"):
        past_of().standing(Mark(1).pack())


def test_an_unknown_member_that_did_not_leave_again_is_unknown_still():
    rest, unknown = [[40, 60], [100, MOST]], [[50, 60]]
    past = past_of(epoch(1), chunk(0, 100, 0), epoch(2, rest, unknown))
    assert past.standing(None) == ([(40, 50), (100, MOST)], [(50, 60)], 100, None)
    found = past.standing(Mark(2, 55).pack())
    assert found == ([(100, MOST)], [(55, 60)], 100, None)


def test_a_sender_that_ended_says_what_is_left():
    end = {
        "end": None,
        "count": 100,
        "whole": False,
        "unsent": [[10, 20], [90, 100]],
        "unknown": [[50, 60]],
    }
    past = past_of(epoch(1), chunk(0, 90, 0), end)
    assert past.standing(None) == (
        [(10, 20), (90, MOST)],
        [(50, 60)],
        90,
        None,
    )
    # The mark knows more.
    found = past.standing(Mark(1, 55).pack())
    assert found.rest == [(10, 20), (55, 60), (90, MOST)]
    assert found.unknown == []


def test_nothing_is_left_of_a_group_that_was_sent_whole():
    end = {"end": None, "count": 100, "whole": True, "unsent": [], "unknown": []}
    past = past_of(epoch(1), chunk(0, 100, 0), end)
    assert past.standing(None) == ([], [], 100, 100)


def test_a_sender_that_was_stopped_in_its_source_counts_by_what_it_named():
    past = past_of(epoch(1), chunk(0, 100, 50), {"end": "close"})
    assert past.standing(None) == ([(100, MOST)], [(50, 100)], 100, None)


def test_the_end_of_a_sender_that_was_replaced_is_nobodys():
    begun = [epoch(1, token="a"), chunk(0, 50, 50), epoch(2, [[50, MOST]], token="b")]
    expected = ([(50, MOST)], [], 50, None)
    for late in (end(1, "a"), end(2, "c"), end(1, "a", end="cancel")):
        past = past_of(*begun, late)
        assert past.end is None
        assert past.standing(Mark(2).pack()) == expected
    past = past_of(*begun, end(2, "b"), end(1, "a"))
    assert past.end["token"] == "b"


def test_the_end_of_a_sender_that_had_nothing_to_send_counts():
    past = past_of(epoch(1, token="a"), chunk(0, 100, 100), end(2, "b"))
    assert past.standing(None) == ([], [], 100, 100)
    assert past_of(end(1, "a", end="cancel")).end["end"] == "cancel"


@pytest.mark.parametrize("more", [{"known": 10}, {}])
def test_members_that_had_left_are_known_when_a_part_is_sent_again(more):
    # Without `known` it is a journal of an older release.
    past = past_of(epoch(1), chunk(0, 10, 0), epoch(2, [[2, 3]], **more))
    assert past.standing(None) == ([(2, 3)], [], 10, None)
    past = past_of(
        epoch(1), chunk(0, 10, 0), epoch(2, [[2, 3]], **more), chunk(2, 3, 2)
    )
    assert past.standing(None) == ([], [(2, 3)], 10, None)
    past = past_of(
        epoch(1), chunk(0, 10, 0), epoch(2, [[2, 3]], **more), epoch(3, [[2, 3]])
    )
    assert past.standing(None) == ([(2, 3)], [], 10, None)


def test_a_mark_knows_nothing_of_members_that_are_not_sent_again():
    past = past_of(epoch(1), epoch(2, [[2, 3]], known=10))
    assert past.standing(Mark(2).pack()) == ([(2, 3)], [], 10, None)
    assert past.standing(Mark(2, 3).pack()) == ([], [], 10, None)


def test_a_member_that_has_not_left_was_not_used():
    used = {"used": [[0, 30], [90, 120]], "failed": [[20, 30]]}
    past = past_of(epoch(1), chunk(0, 100, 100), epoch(2, [[10, 25]], known=100), used)
    past.forget_unsent(past.standing(None))
    assert past.used == [(0, 10), (25, 30), (90, 100)]
    assert past.failed == [(25, 30)]


def test_an_epoch_that_began_twice_is_one():
    past = past_of(epoch(1), epoch(1), chunk(0, 10, 0))
    assert len(past.epochs) == 1
    assert past.next_assignment(None, [], []).epoch == 2


@pytest.mark.parametrize(
    "records",
    [
        [chunk(0, 10, 0)],
        [epoch(1), [1, 2]],
        [epoch(1), ["a", 2, 3, 0, "!"]],
        [epoch(1, [[5, 1]])],
        [epoch(1, [["a", 1]])],
        [epoch(1, 7)],
    ],
)
def test_records_that_cannot_be_are_refused(records):
    with pytest.raises(JournalError, match="journal x is garbled"):
        past_of(*records)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([], "no journal"),
        ([[0, 1]], "no journal"),
        ([{"seed": ""}], "no journal"),
        ([{**HEAD, "celerant": 9}], "another release"),
        ([{**HEAD, "seed": "xyz"}], "garbled"),
        ([{**HEAD, "seed": "00"}], "garbled"),
    ],
)
def test_a_first_record_that_is_no_journals_is_refused(records, words):
    with pytest.raises(JournalError, match=words):
        Past.of("journal x", records)


def test_marks_are_numbers_that_grow_with_each_step():
    steps = [Mark(1), Mark(1, 0, 1), Mark(1, 1), Mark(1, 5, 1), Mark(1, 5, 2)]
    steps += [Mark(1, 6), Mark(2), Mark(2, MOST, 65535), Mark(65535, 3)]
    numbers = [step.pack() for step in steps]
    assert numbers == sorted(set(numbers))
    assert [Mark.of(number) for number in numbers] == steps
    assert numbers[-1] < 1 << 64


def test_a_mark_of_another_epoch_says_nothing():
    assert Mark(1, 5).covers(Mark(1, 5))
    assert Mark(1, 5).covers(Mark(1, 6)) is False
    assert Mark(2, 5).covers(Mark(1, 4)) is None
