"""A page that shows a group's progress while it runs: FastAPI, no broker needed.

pip install 'celerant[starlette]' fastapi uvicorn
uvicorn progress_page:web
"""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import StreamingResponse

from celerant import Celerant, GroupResult, group
from celerant.starlette import celerant_app, lifespan, progress_events

app = Celerant("progress-page")
#: Of this process. With a Redis, give the page `result.handle`, and attach by it.
groups: dict[str, GroupResult[float]] = {}


@app.task
def work(seconds: float) -> float:
    """Sleep, in place of work that takes so long."""
    time.sleep(seconds)
    return seconds


web = FastAPI(lifespan=lifespan(app, worker=True, concurrency=8))

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Progress</title>
<h1>A group of {n}</h1>
<progress max="{n}" value="0" aria-label="members done"></progress>
<p role="status">waiting</p>
<script>
  const bar = document.querySelector("progress");
  const text = document.querySelector("p");
  const events = new EventSource("/groups/{id}/events");
  const show = (event) => {{
    const told = JSON.parse(event.data);
    bar.value = told.done;
    text.textContent = `${{told.done}} of ${{told.total}}, ${{told.failed}} failed`;
  }};
  events.addEventListener("progress", show);
  events.addEventListener("end", (event) => {{ show(event); events.close(); }});
</script>
"""


@web.post("/groups")
async def start(
    celerant: Annotated[Celerant, Depends(celerant_app)], n: int = 200
) -> RedirectResponse:
    """Send a group and go to its page."""
    result = await celerant.asend(group(work.s(0.05) for _ in range(n)))
    groups[result.id] = result
    return RedirectResponse(f"/groups/{result.id}", status_code=303)


@web.get("/", response_class=HTMLResponse)
def index() -> str:
    """A button that starts a group."""
    return '<form method="post" action="/groups"><button>Start</button></form>'


@web.get("/groups/{group_id}", response_class=HTMLResponse)
def page(group_id: str) -> str:
    """The page of a group."""
    return PAGE.format(id=group_id, n=len(found(group_id)))


@web.get("/groups/{group_id}/events")
def events(group_id: str) -> StreamingResponse:
    """The progress of a group, as server-sent events."""
    return progress_events(found(group_id))


def found(group_id: str) -> GroupResult[float]:
    """Return a group of this process."""
    if group_id not in groups:
        raise HTTPException(404)
    return groups[group_id]
