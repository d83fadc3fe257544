"""What a client's stream to Redis shows of the transactions that carry members."""

from __future__ import annotations

__all__ = ["COMMITTED", "OPENED"]

#: The end of a transaction that has no EXEC yet, and of one that has.
OPENED = b"$7\r\nKEEPTTL\r\n"
COMMITTED = OPENED + b"*1\r\n$4\r\nEXEC\r\n"
