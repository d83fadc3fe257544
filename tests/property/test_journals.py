"""Senders that are killed between any two steps, against a broker that counts."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import orjson
from hypothesis import given
from hypothesis import strategies as st

from celerant._core import Fate, Ledger, Prints
from celerant.dispatch.journaling import MOST, Mark, Resumed
from celerant.sending.journal_past import Past
from celerant.sending.journal_records import KeptJournal, mark_name, record_of

HEAD = {"celerant": 1, "seed": "00" * 16}
SIZE = 40


class Killed(BaseException):
    """A sender's end."""


@dataclass
class Chunk:
    """Messages: of which member, and which of its two parts."""

    messages: list[tuple[int, int]]
    has_generic: bool

    def ranges(self):
        return [(index, index + 1) for index, _ in self.messages]


class Broker:
    """Counts messages, and has a mark that is set with them."""

    def __init__(self):
        self.counts = Counter()
        self.mark = None


class Listed(KeptJournal):
    """A journal that is a list."""

    def __init__(self, records, step, *args):
        super().__init__(*args)
        self.records = records
        self.step = step

    def append(self, record):
        self.step()
        self.records.append(orjson.loads(orjson.dumps(record)))

    def write_begin(self):
        self.append(record_of(self))
        return ()

    def write_leaving(self, start, stop, has_generic):
        self.append([start, stop, self.low, int(has_generic), ""])

    def write_low(self):
        self.append([self.low])

    def close(self):
        pass

    def discard(self):
        pass

    def again(self, report, number, rest):
        raise NotImplementedError


class Sender:
    """Sends what is left; dies after so many steps."""

    def __init__(self, broker, records, parts, *, marks, life, rng):
        self.broker, self.parts, self.marks = broker, parts, marks
        self.life, self.rng = life, rng
        past = Past.of("it", [HEAD, *records])
        number = broker.mark if marks else None
        standing = past.standing(number)
        self.rest = sorted(standing.rest + standing.unknown)
        self.doubtful = {i for one in standing.unknown for i in range(*one)}
        self.double = set(past.double)
        self.named = past.double | self.doubtful
        self.known = standing.known
        assert all(index < self.known for index, _ in broker.counts)
        self.journal = Listed(
            records,
            self.step,
            mark_name(past.seed),
            past.next_assignment(
                number, self.rest, standing.unknown, known=standing.known
            ),
            Prints(),
        )
        self.ledger = Ledger()
        self.ledger.grow(SIZE)
        self.ledger.mark_range(0, SIZE, Fate.CONFIRMED)
        for start, stop in self.rest:
            self.ledger.mark_range(start, min(stop, SIZE), Fate.UNSENT)

    def step(self):
        self.life -= 1
        if self.life < 0:
            raise Killed

    def run(self):
        resumed = Resumed(self.rest, self.known, None, [])
        wanted = [i for one in resumed.rest for i in range(one[0], min(one[1], SIZE))]
        messages = [(i, part) for i in wanted for part in range(self.parts[i])]
        unconfirmed = []
        while messages:
            count = self.rng.randint(1, 12)
            taken, messages = messages[:count], messages[count:]
            is_amid = bool(messages) and messages[0][0] == taken[-1][0]
            has_generic = self.rng.random() < 0.1
            self.send(Chunk(taken, has_generic), is_amid, unconfirmed)
            while unconfirmed and self.rng.random() < 0.5:
                self.confirm(unconfirmed)
        while unconfirmed:
            self.confirm(unconfirmed)
        self.journal.settle(self.ledger, self.double)

    def send(self, chunk, is_amid, unconfirmed):
        broker, journal = self.broker, self.journal
        if not journal.is_begun:
            journal.begin()
            self.step()
            broker.mark = journal.mark.pack() if self.marks else None
        self.double |= {i for i, _ in chunk.messages} & self.doubtful
        journal.leaving(chunk, self.ledger, self.double, is_amid=is_amid)
        self.step()
        if self.marks and not chunk.has_generic:
            # One transaction.
            broker.counts.update(chunk.messages)
            broker.mark = journal.mark.pack()
            self.step()
            unconfirmed += chunk.messages
            while unconfirmed:
                self.confirm(unconfirmed)
            return
        for message in chunk.messages:
            broker.counts[message] += 1
            self.step()
        if self.marks and self.rng.random() < 0.5:
            # Some of it went by the wire, all the same.
            broker.mark = journal.mark.pack()
        unconfirmed += chunk.messages

    def confirm(self, unconfirmed):
        at = self.rng.randrange(len(unconfirmed))
        index, _ = unconfirmed.pop(at)
        if all(index != other for other, _ in unconfirmed):
            sent = all(self.broker.counts[index, p] for p in range(self.parts[index]))
            if sent:
                self.ledger.mark_index(index, Fate.CONFIRMED)
        self.step()


@given(st.booleans(), st.integers(0, 1 << 32))
def test_every_message_is_in_and_whatever_is_double_is_named(marks, seed):
    rng = random.Random(seed)
    parts = rng.choices([1, 1, 2, 3], k=SIZE)
    broker, records = Broker(), []
    lives = [*(rng.randrange(120) for _ in range(rng.randrange(5))), 1 << 20]
    named = set()
    for life in lives:
        sender = Sender(broker, records, parts, marks=marks, life=life, rng=rng)
        try:
            sender.run()
        except Killed:
            continue
        named = sender.named | sender.double
    everything = {(i, part) for i in range(SIZE) for part in range(parts[i])}
    assert set(broker.counts) == everything
    twice = {index for (index, _), count in broker.counts.items() if count > 1}
    assert twice <= named
    if marks:
        generic = [r for r in records if isinstance(r, list) and len(r) == 5 and r[3]]
        unmarked = {i for start, stop, *_ in generic for i in range(start, stop)}
        assert all(parts[i] > 1 or i in unmarked for i in named)


def test_an_open_range_has_no_end():
    assert Mark.of(Mark(1, MOST).pack()).position == MOST
