"""Write the reprs of many values by the running celery and json, for the Rust tests.

Run: ``python tests/conformance/make_saferepr_vectors.py``; it rewrites
``rust/core/tests/data/{saferepr,json}.json``. With Celery 5.6 it rewrites
``saferepr_before_5_7.json`` there, with what differs. Values are spelled out as typed
trees and texts as the hex of their UTF-8 with surrogates passed, since JSON cannot
carry a lone surrogate.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import struct
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import celery
from celery.utils.saferepr import saferepr

DATA = Path(__file__).resolve().parents[2] / "rust" / "core" / "tests" / "data"
SEED = 20251120
#: How often a drawn value is a scalar, and a drawn key is text.
SCALAR_SHARE = 0.25
TEXT_KEY_SHARE = 0.6

TEXTS = [
    "",
    "a",
    "it's",
    "''''''''",
    'say "x"\\n\n\t\r\x00\x07\x08\x0c\x1f\x7f\x80\xa0',
    "ünïcödé",
    "\u2028\u2029\uffff\ufeff",
    "日本語 テキスト",
    "😀 👩\u200d👩\u200d👧",
    "\ud800",
    "a\udfffb",
    "\ud83d\ude00",
    "word " * 30,
    "nospace" * 30,
    " lead and trail ",
    "é" * 40,
    "€ '" * 12,
]
BYTES = [b"", b"abc", b"it's", b"\xff\x00", "ü".encode(), b"x" * 50, b"\x80" * 20]
NUMBERS: list[Any] = [0, -1, 7, 10**9, 2**63 - 1, -(2**63), True, False, None]
FLOATS = [
    0.0, -0.0, 1.0, -1.5, 0.1, 1 / 3, 1e-4, 9.999e-5, 1e-5, 1.5e-7, 1e15, 1e16,
    123456789012345680.0, 1e17, 1e22, 1e23, 2e23, 5e-324, 2.2250738585072014e-308,
    1.7976931348623157e308, 4.35, 0.3, 2.675, 1e100, 9007199254740993.0, 1e21,
    9999999999999998.0, 8.5e-5, 12345.678, 1.234567890123456e-10,
]  # fmt: skip
OBJECTS: list[Any] = [
    Decimal("1.50"),
    dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc),
    uuid.UUID(int=5),
    range(3),
]


def text_hex(text: str) -> str:
    """Return the hex of `text` in UTF-8 with surrogates passed."""
    return text.encode("utf-8", "surrogatepass").hex()


def tree(value: Any) -> list[Any]:  # noqa: PLR0911 - one per type
    """Spell `value` out as a typed tree."""
    kind = type(value)
    if value is None:
        return ["null"]
    if kind in (bool, int):
        return [kind.__name__, value]
    if kind is float:
        return ["float", struct.pack(">d", value).hex()]
    if kind is str:
        return ["str", text_hex(value)]
    if kind is bytes:
        return ["bytes", value.hex()]
    if kind is dict:
        return ["dict", [[tree(k), tree(v)] for k, v in value.items()]]
    if kind in (list, tuple, set, frozenset):
        return [kind.__name__, [tree(item) for item in value]]
    return ["repr", text_hex(repr(value))]


def scalar(rng: random.Random, *, plain: bool) -> Any:
    """Draw a value that holds no others."""
    pools: list[list[Any]] = [TEXTS, TEXTS, NUMBERS, FLOATS]
    if not plain:
        pools += [BYTES, OBJECTS]
    return rng.choice(rng.choice(pools))


def key(rng: random.Random, *, plain: bool) -> Any:
    """Draw a dict key; other than text only for reprs."""
    if plain or rng.random() < TEXT_KEY_SHARE:
        return rng.choice(TEXTS) + str(rng.randrange(5))
    return rng.choice(
        [
            rng.randrange(100),
            None,
            (1, "a'b"),
            ((1, (2, (3, (4,)))), "x" * rng.randrange(30)),
            frozenset({3}),
            b"k",
            (),
            1.5,
        ]
    )


def value(rng: random.Random, depth: int, *, plain: bool) -> Any:
    """Draw a nested value."""
    if depth == 0 or rng.random() < SCALAR_SHARE:
        return scalar(rng, plain=plain)
    size = rng.choice([0, 1, 1, 2, 3, 5])
    kind = rng.choice(["list", "tuple", "dict", "list", "tuple", "dict", "set"])
    if kind == "dict":
        return {
            key(rng, plain=plain): value(rng, depth - 1, plain=plain)
            for _ in range(size)
        }
    if kind == "set" and not plain:
        # Small integers: their order does not hang on the hash seed.
        items = rng.sample(range(8), size)
        return rng.choice([set, frozenset])(items)
    items = [value(rng, depth - 1, plain=plain) for _ in range(size)]
    return items if kind == "list" else tuple(items)


def saferepr_cases() -> list[dict[str, Any]]:
    """Return values with their limits and celery's reprs."""
    rng = random.Random(SEED)
    values: list[Any] = [*TEXTS, *BYTES, *NUMBERS, *FLOATS, *OBJECTS]
    values += [float("nan"), float("inf"), [], (), {}, set(), frozenset(), (1,)]
    values += [((((1,),),),), [[[[]]]], {"a": {"b": {"c": {"d": 1}}}}, {(1, 2): 3}]
    values += [[{}, {}], [[[()]]], [set(), frozenset({1}), {2}], ({frozenset({1})},)]
    values += [list(range(600)), {str(i): i for i in range(200)}, ["x " * 600]]
    values += [{"k" * 1030: 1}, ("é" * 1100,), (b"\xff" * 700, 1), ["'" * 1021]]
    cases = [(item, 1024, 3) for item in values]
    cases += [(item, limit, 3) for item in values for limit in (0, 1, 2, 3, 7)]
    for _ in range(900):
        drawn = value(rng, rng.choice([1, 2, 3, 5]), plain=False)
        limit = rng.choice([1024, 1024, *range(1, 60), 100, 128])
        cases.append((drawn, limit, rng.choice([3, 3, 3, 1, 2, 0, 5])))
    return [
        {
            "value": tree(item),
            "max_len": limit,
            "max_levels": levels,
            "expected": text_hex(saferepr(item, limit, levels)),
        }
        for item, limit, levels in cases
    ]


def json_cases() -> list[dict[str, Any]]:
    """Return plain values and their text by `json.dumps`."""
    rng = random.Random(SEED)
    values: list[Any] = [*TEXTS, *NUMBERS, *FLOATS]
    values += [float("nan"), float("inf"), float("-inf")]
    blocks = [range(start, start + 64) for start in range(0, 512, 64)]
    values += ["".join(map(chr, block)) for block in blocks]
    for _ in range(600):
        bits = rng.getrandbits(64)
        drawn = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
        values += [drawn, rng.uniform(-1e5, 1e5), round(rng.random(), 4) * 1e-4]
    values += [value(rng, rng.choice([1, 2, 4]), plain=True) for _ in range(300)]
    return [{"value": tree(v), "expected": json.dumps(v)} for v in values]


def write(name: str, cases: list[dict[str, Any]]) -> None:
    """Write one file, a case per line."""
    lines = ",\n".join(json.dumps(case) for case in cases)
    head = f'"source": "celery {celery.__version__}", "seed": {SEED}'
    text = f'{{{head}, "cases": [\n{lines}\n]}}\n'
    (DATA / name).write_text(text, encoding="ascii")


def main() -> None:
    """Rewrite the files that are of the running Celery."""
    cases = saferepr_cases()
    if celery.VERSION >= (5, 7):
        write("saferepr.json", cases)
        write("json.json", json_cases())
        return
    later = json.loads((DATA / "saferepr.json").read_text())["cases"]
    write(
        "saferepr_before_5_7.json",
        [case for case, other in zip(cases, later, strict=True) if case != other],
    )


if __name__ == "__main__":
    main()
