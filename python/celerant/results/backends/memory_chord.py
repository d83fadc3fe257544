"""Parts of chord headers in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter

from celerant._core import monotonic
from celerant.results.backends.chords import ChordCounter

__all__ = ["MemoryChords"]

#: Seconds for which late parts of a finished chord are recognised.
_DONE = 300.0


@dataclass(slots=True)
class _Chord:
    #: Its end of life (`monotonic`, or infinity).
    ends: float
    size: int | None = None
    more: int = 0
    #: Pairs of index and part, by task and index.
    parts: dict[tuple[str, int | str], tuple[float, bytes]] = field(
        default_factory=dict
    )
    claim: str | None = None
    header: bytes | None = None


class MemoryChords(ChordCounter):
    """The chords of one app; any thread may use it."""

    def __init__(self) -> None:
        #: Seconds that a chord is kept if parts do not come; 0 is for ever.
        self.expires = 0
        self._lock = threading.Lock()
        #: Unfinished chords and saved groups by their ids, the oldest first.
        self._chords: dict[str, _Chord] = {}
        #: Until when finished chords are recognised (`monotonic`), the oldest first.
        self._done: dict[str, float] = {}

    def _chord(self, group_id: str) -> _Chord:
        chord = self._chords.get(group_id)
        if chord is None:
            now = monotonic()
            self._purge(now)
            ends = now + self.expires if self.expires else float("inf")
            chord = self._chords[group_id] = _Chord(ends)
        return chord

    def _purge(self, now: float) -> None:
        while self._chords:
            oldest = next(iter(self._chords))
            if self._chords[oldest].ends > now:
                break
            del self._chords[oldest]
        while self._done:
            oldest = next(iter(self._done))
            if self._done[oldest] > now:
                break
            del self._done[oldest]

    def clear(self) -> None:
        """Forget all chords."""
        with self._lock:
            self._chords.clear()
            self._done.clear()

    def set_sizes(self, sizes: Mapping[str, int]) -> None:
        """Set sizes; a chord that is sent again begins anew."""
        with self._lock:
            for group_id, size in sizes.items():
                self._done.pop(group_id, None)
                chord = self._chord(group_id)
                chord.size, chord.claim = size, None

    def grow(self, group_id: str, more: int) -> None:
        """Expect `more` parts more."""
        with self._lock:
            self._chord(group_id).more += more

    def count(
        self, group_id: str, task_id: str, index: int | str, part: bytes, *, token: str
    ) -> bool:
        """Add a part; the last one brings the claim."""
        with self._lock:
            if group_id in self._done:
                return False
            chord = self._chord(group_id)
            chord.parts.setdefault((task_id, index), (float(index), part))
            if chord.size is None or chord.claim is not None:
                return False
            if len(chord.parts) != chord.size + chord.more:
                return False
            chord.claim = token
            return True

    def parts(self, group_id: str) -> Iterator[bytes]:
        """Return the parts by index, those without one in the order of arrival."""
        with self._lock:
            kept = list(self._chord(group_id).parts.values())
        return (part for _, part in sorted(kept, key=itemgetter(0)))

    def renew(self, group_id: str, token: str, seconds: float) -> bool:  # noqa: ARG002 - a claim here does not expire
        """Return whether `token` still has the claim."""
        with self._lock:
            return self._chord(group_id).claim == token

    def finish(self, group_id: str, token: str) -> bool:
        """Forget the chord, except that it is done."""
        with self._lock:
            if self._chord(group_id).claim != token:
                return False
            header = self._chords[group_id].header
            if header is None:
                del self._chords[group_id]
            else:
                # A saved group is a result too, and is kept as long as one.
                kept = _Chord(self._chords[group_id].ends, header=header)
                self._chords[group_id] = kept
            self._done[group_id] = monotonic() + _DONE
            return True

    def save_header(self, group_id: str, payload: bytes) -> None:
        """Keep a header's form, as long as an unfinished chord."""
        with self._lock:
            self._chord(group_id).header = payload

    def delete_header(self, group_id: str) -> None:
        """Delete a header's form."""
        with self._lock:
            chord = self._chords.get(group_id)
            if chord is not None:
                chord.header = None

    def header(self, group_id: str) -> bytes | None:
        """Return a header's form; None if there is none."""
        with self._lock:
            chord = self._chords.get(group_id)
            return None if chord is None else chord.header
