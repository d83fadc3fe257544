from __future__ import annotations

import threading
from functools import partial

import pytest
from kombu import Connection

from celerant.context.request import Request
from celerant.errors import CelerantError, ChordError, EncodeError, TaskRevoked
from celerant.results.backends import memory_chord, open_backend


def part(backend, task_id, index, result=None, state="SUCCESS", chord="g"):
    request = Request(task_id, "t", group=chord, group_index=index)
    return backend.on_chord_part(request, state, result)


def test_the_last_part_completes_and_values_are_in_the_headers_order(memory):
    memory.set_chord_size("g", 3)
    assert part(memory, "b", 1, [1]) is None
    assert part(memory, "c", 2, {"k": (1, 2)}) is None
    chord = part(memory, "a", 0, "x")
    assert chord.values() == ["x", [1], {"k": [1, 2]}]
    assert chord.group_id == "g"


def test_parts_without_an_index_come_last(memory):
    memory.set_chord_size("g", 3)
    part(memory, "late", None, "first of those without")
    part(memory, "later", None, "second")
    chord = part(memory, "a", 0, "a")
    assert chord.values() == ["a", "first of those without", "second"]


def test_a_task_counts_once_however_often_it_runs(memory):
    memory.set_chord_size("g", 2)
    assert part(memory, "a", 0, "first") is None
    assert part(memory, "a", 0, "second") is None
    assert part(memory, "b", 1, 2).values() == ["first", 2]


def test_one_frozen_task_in_two_places_counts_twice(memory):
    memory.set_chord_size("g", 2)
    assert part(memory, "a", 0, 1) is None
    assert part(memory, "a", 1, 2).values() == [1, 2]


def test_chord_does_not_complete_before_its_size_is_known(memory):
    assert part(memory, "a", 0) is None
    memory.set_chord_size("g", 2)
    assert part(memory, "b", 1) is not None


def test_sizes_of_many_chords_are_set_at_once_and_may_grow(memory):
    memory.set_chord_sizes({"one": 1, "two": 1})
    memory.add_to_chord("two")
    assert part(memory, "a", 0, chord="one") is not None
    assert part(memory, "a", 0, chord="two") is None
    assert part(memory, "b", 1, chord="two") is not None


def test_one_of_many_threads_completes(memory):
    count = 200
    memory.set_chord_size("g", count)
    completed = []

    def run(start):
        for index in range(start, count, 4):
            # Twice, as when the broker delivers twice.
            for _ in range(2):
                chord = part(memory, str(index), index, index)
                if chord is not None:
                    completed.append(chord)

    threads = [threading.Thread(target=run, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (chord,) = completed
    assert chord.values() == list(range(count))


def test_a_finished_chord_ignores_late_parts_until_it_is_sent_again(memory):
    memory.set_chord_size("g", 1)
    chord = part(memory, "a", 0)
    assert chord.renew(10)
    assert chord.finish()
    assert not chord.finish()
    assert part(memory, "a", 0) is None
    memory.set_chord_size("g", 1)
    assert part(memory, "a", 0, "again").values() == ["again"]


def test_a_failed_part_is_named_and_is_the_cause(memory):
    memory.set_chord_size("g", 3)
    part(memory, "a", 0, 1)
    part(memory, "b", 1, ValueError("no", 3), "FAILURE")
    chord = part(memory, "c", 2, KeyError("later"), "FAILURE")
    with pytest.raises(ChordError) as caught:
        chord.values()
    assert str(caught.value) == "Dependency b raised ValueError('no', 3)"
    assert caught.value.task_id == "b"
    assert type(caught.value.__cause__) is ValueError
    assert caught.value.__cause__.args == ("no", 3)


def test_a_revoked_part_fails_the_chord(memory):
    memory.set_chord_size("g", 1)
    stored = {"exc_type": "Terminated", "exc_message": ["expired"], "exc_module": "x"}
    chord = part(memory, "a", 0, stored, "REVOKED")
    with pytest.raises(ChordError, match=r"raised Terminated\('expired'\)$") as caught:
        chord.values()
    # A worker may give the reason any class: it is a revocation.
    assert type(caught.value.__cause__) is TaskRevoked


def test_a_part_that_cannot_be_serialized_is_not_counted(memory):
    memory.set_chord_size("g", 1)
    with pytest.raises(EncodeError):
        part(memory, "a", 0, {1, 2})
    assert part(memory, "a", 0, ValueError(), "FAILURE") is not None


def test_nested_headers_keep_their_form(memory):
    def leaf(name):
        return (name, None), None

    inner = (("inner", None), [leaf("b"), leaf("c")])
    memory.save_group("g", (("g", None), [leaf("a"), inner]))
    memory.set_chord_size("g", 3)
    chord = None
    for index, name in enumerate("abc"):
        memory.store_result(name, name.upper(), "SUCCESS")
        chord = part(memory, name, index, name.upper())
    assert chord is not None
    assert chord.values() == ["A", ["B", "C"]]
    memory.forget(["c"])
    with pytest.raises(ChordError, match="no result of c is stored"):
        chord.values()


def test_an_incomplete_chord_expires(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(memory_chord, "monotonic", lambda: now[0])
    backend = open_backend("memory://", name="chords-in-time", chord_expires=10)
    backend.set_chord_size("old", 2)
    part(backend, "a", 0, chord="old")
    backend.set_chord_size("done", 1)
    part(backend, "a", 0, chord="done").finish()
    now[0] += 301
    backend.set_chord_size("new", 1)
    counter = backend.chord_counter()
    assert set(counter._chords) == {"new"}
    assert not counter._done


@pytest.mark.parametrize("url", [None, "rpc://"])
def test_backends_that_cannot_count_say_so_before_anything_is_sent(url, monkeypatch):
    if url == "rpc://":
        broker = partial(Connection, "amqp://user:secret@host//")
        backend = open_backend(url, name="x", connect=broker)
    else:
        backend = open_backend(url, name="x")
    refusals = [
        backend.ensure_chords_allowed,
        lambda: backend.set_chord_size("g", 1),
        lambda: backend.add_to_chord("g"),
        lambda: part(backend, "a", 0),
    ]
    for refusal in refusals:
        with pytest.raises(CelerantError, match=r"use redis://, .* or memory://"):
            refusal()


def test_memory_allows_chords(memory):
    memory.ensure_chords_allowed()


def test_a_task_of_no_group_is_no_part(memory):
    assert memory.on_chord_part(Request("a", "t"), "SUCCESS", 1) is None
