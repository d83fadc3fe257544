"""A user's program: passes mypy --strict, and its types are what it says."""

from __future__ import annotations

from typing_extensions import assert_type

from celerant import AsyncResult, Celerant, GroupResult, group
from celerant.canvas.signature import Signature
from celerant.task import Task

app = Celerant("shop")


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="shop.greet", ignore_result=True, queue="greetings")
def greet(name: str, *, loud: bool = False) -> str:
    return name.upper() if loud else name


@app.task(bind=True)
def attempt(self: Task[[str], str], name: str) -> str:
    return self.name + name


def send() -> None:
    assert_type(add(1, 2), int)
    assert_type(add.delay(1, 2), AsyncResult[int])
    assert_type(add.apply_async((1, 2), queue="q"), AsyncResult[int])
    assert_type(add.delay(1, 2).get(timeout=3), int)
    assert_type(add.s(1), Signature[int])
    assert_type(add.si(1, 2), Signature[int])
    assert_type(greet.s("a"), Signature[str])
    assert_type(greet.delay("a", loud=True), AsyncResult[str])

    sums = group([add.s(1, 1), add.s(2, 2)])
    assert_type(sums, group[int])
    assert_type(group(add.s(i, i) for i in range(3)), group[int])
    assert_type(group(add.s(1, 1), add.s(2, 2)), group[int])
    assert_type(group.map(greet, ["a", "b"]), group[str])
    assert_type(group.starmap(add, [(1, 2)]), group[int])
    assert_type(sums.apply_async(), GroupResult[int])
    assert_type(sums.delay(), GroupResult[int])
    assert_type(sums.delay().get(timeout=1), list[int])
    assert_type(sums.delay()[0], AsyncResult[int])
    assert_type(sums.delay().ready(), bool)
    assert_type(sums.delay().completed_count(), int)
    assert_type(sums.delay().handle, str)


async def send_from_a_loop() -> None:
    sums = group([add.s(1, 1), add.s(2, 2)])
    assert_type(await add.delay(1, 2), int)
    assert_type(await sums.delay(), list[int])
    assert_type(await app.asend(sums, queue="q"), GroupResult[int])
    assert_type(await app.asend(add.s(1, 2)), AsyncResult[int])
    assert_type(await (await app.asend(add.s(1, 2))), int)
    async for member in await app.asend(sums):
        assert_type(member, AsyncResult[int])
        assert_type(await member, int)


def wrong() -> None:
    add.delay("1", 2)  # type: ignore[arg-type]
    add.delay(1)  # type: ignore[call-arg]
    add.si(1, z=2)  # type: ignore[call-arg]
    add("1", 2)  # type: ignore[arg-type]
    greet.delay("a", loud="very")  # type: ignore[arg-type]
