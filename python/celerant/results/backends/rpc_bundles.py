"""Many records in one message, from Celerant's workers to Celerant's senders.

RabbitMQ works for each message, whatever is in it. Only a reply queue with `PREFIX`
gets bundles: whoever reads another one knows messages with one record.

The body is, for each record: the length of the task's id (1 byte), the length of the
record (4 bytes, big-endian), the id, the record.
"""

from __future__ import annotations

from struct import Struct, error
from typing import TYPE_CHECKING

from celerant.results.backends.rpc_frames import Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["PREFIX", "bundled", "records_of"]

#: How the names of queues begin whose readers know bundles.
PREFIX = "celerant-replies-"
#: Bytes after which a bundle is full: its message costs little more than them then.
_FULL = 1 << 15
_LENGTHS = Struct(">BI")


def bundled(replies: Iterable[Reply]) -> list[Reply]:
    """Return the same records in fewer messages; each queue's keep their order."""
    found: list[Reply] = []
    waiting: dict[str, list[Reply]] = {}
    sizes: dict[str, int] = {}
    for reply in replies:
        queue = reply.reply_to
        if not queue.startswith(PREFIX):
            found.append(reply)
            continue
        waiting.setdefault(queue, []).append(reply)
        sizes[queue] = sizes.get(queue, 0) + len(reply.record)
        if sizes[queue] >= _FULL:
            found.append(_bundle(waiting.pop(queue)))
            del sizes[queue]
    found += map(_bundle, waiting.values())
    return found


def _bundle(replies: list[Reply]) -> Reply:
    if len(replies) == 1:
        return replies[0]
    parts: list[bytes] = []
    for record, _, correlation_id, _ in replies:
        task_id = correlation_id.encode()
        parts += _LENGTHS.pack(len(task_id), len(record)), task_id, record
    return Reply(b"".join(parts), replies[0].reply_to, "", is_bundle=True)


def records_of(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the tasks' ids and the records of a bundle.

    Raises:
        ValueError: It is no bundle, or only the begin of one.
    """
    at = 0
    while at < len(body):
        try:
            of_id, of_record = _LENGTHS.unpack_from(body, at)
        except error as exc:
            msg = f"a bundle of results ends within a length, at byte {at:,}"
            raise ValueError(msg) from exc
        start = at + _LENGTHS.size
        middle, at = start + of_id, start + of_id + of_record
        if at > len(body):
            msg = f"a bundle of results ends within a record, at byte {start:,}"
            raise ValueError(msg)
        yield body[start:middle].decode(), body[middle:at]
