"""A user's program: passes mypy --strict, with the types that it asserts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from typing_extensions import assert_type

from celerant import (
    ArgumentError,
    AsyncResult,
    BarrierError,
    Cancelled,
    CanvasError,
    Celerant,
    CelerantError,
    ChordError,
    EncodeError,
    Failures,
    ForkError,
    GroupResult,
    HandleError,
    Ignore,
    IncompleteStream,
    JournalError,
    MaxRetriesExceeded,
    MaxRetriesExceededError,
    NotSent,
    Progress,
    PublishError,
    Reject,
    Report,
    ResultExpired,
    ResultSet,
    ResultTimeout,
    Retry,
    SettingError,
    Signature,
    SoftTimeLimitExceeded,
    StampingVisitor,
    Task,
    TaskError,
    TaskRevoked,
    allow_join_result,
    chain,
    chord,
    chunks,
    current_app,
    current_task,
    group,
    maybe_signature,
    result_from_tuple,
    shared_task,
    signature,
    subtask,
    xmap,
    xstarmap,
)
from celerant.canvas.chain import Chain

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


@shared_task
def double(x: int) -> int:
    return 2 * x


@shared_task(name="shop.shout", queue="greetings")
def shout(name: str) -> str:
    return name.upper()


def send_shared() -> None:
    assert_type(double(1), int)
    assert_type(shout.delay("a"), AsyncResult[str])
    assert_type(group([double.s(1)]).delay().get(), list[int])
    assert_type(double.delay_on_commit(1), AsyncResult[int])
    assert_type(double.apply_async_on_commit((1,), queue="q"), AsyncResult[int])
    assert_type(group([double.s(1)]).apply_async_on_commit(), GroupResult[int])
    double.delay_on_commit("1")  # type: ignore[arg-type]


def send_bound() -> None:
    # The task itself is no argument of a call.
    assert_type(attempt.delay("a"), AsyncResult[str])
    assert_type(attempt("a"), str)
    attempt.delay(1)  # type: ignore[arg-type]
    attempt.delay("a", "b")  # type: ignore[call-arg]


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
    assert_type(group(group(add.s(1, 1)), add.s(1, 2)), group[int])
    assert_type(group(add.s(1, 2), group([add.s(1, 1)])), group[int])
    assert_type(group([group([add.s(1, 1)]), add.s(1, 2)]), group[int])
    assert_type(group((add.s(1, 2), group(add.s(1, 1)))), group[int])
    assert_type(group(group(add.s(i, i) for i in range(3)) for _ in "ab"), group[int])
    assert_type(group([sums, sums]), group[int])
    assert_type(group(sums), group[int])
    assert_type(group([group(sums), group([sums])]).delay().get(), list[int])
    assert_type(group(greet.s("a"), add.s(1, 2)), group[Any])
    assert_type(group({"task": "shop.add"}, {"task": "shop.add"}), group[Any])
    assert_type(group.map(greet, ["a", "b"]), group[str])
    assert_type(group.starmap(add, [(1, 2)]), group[int])
    assert_type(sums.apply_async(), GroupResult[int])
    assert_type(sums.delay(), GroupResult[int])
    assert_type(sums.delay().get(timeout=1), list[int])
    assert_type(sums.delay()[0], AsyncResult[int])
    assert_type(sums.delay().ready(), bool)
    assert_type(sums.delay().completed_count(), int)
    assert_type(sums.delay().handle, str)
    assert_type(sums.delay().report, Report | None)
    assert_type(sums.resume(sums.delay(), unknown="skip"), GroupResult[int])


@app.task
def total(values: list[int]) -> str:
    return str(sum(values))


@app.task
def stream(values: GroupResult[int], note: str = "") -> int:
    return sum(member.get() for member in values.as_completed(timeout=9))


def send_streaming_body() -> None:
    assert_type(chord([add.s(1, 1)])(stream.s()), AsyncResult[int])
    assert_type(group([add.s(1, 1)]) | stream.s("note"), chord[int])
    assert_type(stream(add_all().apply_async()), int)


class Tables:
    """Tells Arrow's C stream interface."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


def send_tables() -> None:
    assert_type(group.starmap(add, Tables()), group[int])
    assert_type(group.map(double, Tables()), group[int])
    group.map(double, 7)  # type: ignore[arg-type]


def add_all() -> group[int]:
    return group([add.s(1, 1)])


class Owner(StampingVisitor):
    def on_signature(self, sig: Signature[Any], **headers: Any) -> dict[str, Any]:
        return {"owner": headers["owner"], "task": sig.task}


def compose() -> None:
    sums = group([add.s(1, 1), add.s(2, 2)])
    line = add.s(1, 2) | double.s()
    assert_type(line, Chain[int])
    assert_type(line.delay(), AsyncResult[int])
    assert_type(line(), AsyncResult[int])
    assert_type(line.apply(throw=True), AsyncResult[int])
    assert_type(line.apply_async(countdown=3), AsyncResult[int])
    assert_type(line.apply_async_on_commit(using="other"), AsyncResult[int])
    assert_type(line.freeze(), AsyncResult[int])
    assert_type(line.link(greet.s()), Signature[str])
    assert_type(line.link_error(sums), group[int])
    assert_type(line.clone(), Chain[int])
    assert_type(line.set(queue="q"), Chain[int])
    assert_type(line.tasks, list[Any])
    assert_type(add.s(1, 2) | greet.s() | total.s(), Chain[str])
    assert_type(add.s(1, 2) | line, Chain[int])
    assert_type(sums | total.s(), chord[str])
    assert_type((sums | total.s()).delay(), AsyncResult[str])
    assert_type((sums | total.s()).body, Any)
    assert_type(sums | total.s() | greet.s(), chord[str])
    assert_type(chain(add.s(1, 2), total.s()), Chain[str])
    assert_type(chain(add.s(1, 2), sums, total.s()), Chain[str])
    assert_type(chain(add.s(1, 2), sums | total.s()).delay().get(), str)
    assert_type(chain([add.s(1, 2), double.s()]), Chain[Any])
    # A chain that ends in a group has a group's result.
    assert_type(add.s(1, 2) | sums, Any)
    assert_type(chain(add.s(1, 2), sums), Any)
    assert_type(group([add.s(1, 2) | double.s()]), group[int])
    assert_type(group([add.s(1, 2) | double.s()]).delay().get(), list[int])
    assert_type(chord(sums, total.s()), chord[str])
    assert_type(chord([add.s(1, 2)])(total.s()), AsyncResult[str])
    assert_type(chord([add.s(1, 2)])(total.s()).get(), str)
    assert_type(sums.stamp(Owner(), owner="shop"), group[int])
    assert_type(add.s(1).on_error(greet.s()).replace(args=(1, 2)), Signature[int])
    assert_type(sums.skew(step=2), group[int])


async def numbers() -> AsyncIterator[Signature[int]]:
    yield add.s(1, 2)


def live() -> None:
    sums = group([add.s(1, 1), add.s(2, 2)])
    result = sums.apply_async(window=10, canary=1, stop_if=0.5, cancellable=True)
    sums.apply_async(journal="sums.journal")
    try:
        assert_type(sums.resume(Path("sums.journal")), GroupResult[int])
    except JournalError as exc:
        assert_type(exc.path, str)
    assert_type(result, GroupResult[int])
    assert_type(result.cancel(terminate=True), Cancelled)
    assert_type(result.retry("failed"), GroupResult[int])
    assert_type(result.progress(), Progress)
    assert_type(result.failures(), Failures)
    assert_type(result.stopped_by, str | None)
    assert_type(result.source_error, BaseException | None)


async def send_from_a_loop() -> None:
    assert_type(group(numbers()), group[int])
    assert_type(await group(numbers()).asend(window=10), GroupResult[int])
    assert_type(await group(numbers()).aresume("sums.journal"), GroupResult[int])
    assert_type(await add.s(1, 2).asend(queue="q"), AsyncResult[int])
    sums = group([add.s(1, 1), add.s(2, 2)])
    assert_type(await add.delay(1, 2), int)
    assert_type(await sums.delay(), list[int])
    assert_type(await app.asend(sums, queue="q"), GroupResult[int])
    assert_type(await app.asend(add.s(1, 2)), AsyncResult[int])
    assert_type(await (await app.asend(add.s(1, 2))), int)
    assert_type(await app.asend(add.s(1, 2) | double.s()), AsyncResult[int])
    async for member in await app.asend(sums):
        assert_type(member, AsyncResult[int])
        assert_type(await member, int)


def wrong() -> None:
    add.delay("1", 2)  # type: ignore[arg-type]
    add.delay(1)  # type: ignore[call-arg]
    add.si(1, z=2)  # type: ignore[call-arg]
    add("1", 2)  # type: ignore[arg-type]
    greet.delay("a", loud="very")  # type: ignore[arg-type]
    sums = group([add.s(1, 1)])
    sums.resume(sums.delay(), unknown="maybe")  # type: ignore[arg-type]
    add.apply_async((1, 2), countdwn=3)  # type: ignore[call-arg]
    add.apply_async((1, 2), countdown="soon")  # type: ignore[arg-type]
    add.s(1, 2).set(queue=3)  # type: ignore[arg-type]
    (add.s(1, 2) | double.s()).delay(priority=3).gett()  # type: ignore[attr-defined]
    sums.apply_async(window="10")  # type: ignore[arg-type]
    sums.apply_async(journal=5)  # type: ignore[arg-type]
    add.apply_async((1, 2), window=10)  # type: ignore[call-arg]
    sums.apply_async(expires=[1])  # type: ignore[arg-type]


def see_errors(result: GroupResult[int]) -> None:
    try:
        result.get(timeout=1)
    except NotSent as exc:
        assert_type(exc.group_index, int | None)
    except (TaskRevoked, ChordError, TaskError, ResultExpired, IncompleteStream):
        raise
    except ResultTimeout:
        assert_type(result.counts(), dict[str, int])
    except CelerantError:
        raise
    try:
        group([add.s(1, 1)]).apply_async()
    except (ArgumentError, EncodeError) as exc:
        assert_type(exc.path, str)
    except (CanvasError, SettingError, BarrierError, ForkError) as exc:
        assert_type(str(exc), str)
    except PublishError as exc:
        assert_type(exc.report, Report | None)


@app.task(bind=True, max_retries=3)
def steer(self: Task[[int], int], n: int) -> int:
    if n < 0:
        raise Ignore
    if n == 0:
        raise Reject("zero", requeue=False)
    try:
        return 10 // n
    except SoftTimeLimitExceeded:
        return 0
    except (MaxRetriesExceeded, MaxRetriesExceededError, Retry):
        raise
    except ZeroDivisionError as exc:
        raise self.retry(exc=exc, countdown=1) from exc


def look(handle: str) -> None:
    try:
        found = app.attach(handle)
    except HandleError:
        return
    with found.progress_bar(disable=True), allow_join_result():
        found.get()
    together: ResultSet[int] = ResultSet([add.delay(1, 1)])
    assert_type(together.completed_count(), int)
    result_from_tuple(found.as_tuple(), app)
    assert_type(current_app.name, str)
    assert current_task is not None


def other_canvases() -> None:
    assert_type(add.s(1, 1), Signature[int])
    signature("shop.add", (1, 1))
    subtask("shop.add", (1, 1))
    maybe_signature(add.s(1, 1), app)
    xmap(double.s(), [1, 2]).delay()
    xstarmap(add.s(), [(1, 2)]).delay()
    chunks(add.s(), [(1, 2)], 10).delay()
