// Keeps the list of groups up to date; tells of other ones and leaves the page as it is.

const list = document.querySelector("#groups");
const news = document.querySelector("#news");
const newest = list.dataset.newest;

function show(row) {
  const shown = document.getElementById(`group-${row.id}`);
  if (!shown) {
    news.hidden = false;
    return;
  }
  for (const name of ["state", "progress", "failed", "rate", "left"]) {
    const cell = shown.querySelector(`[data-field="${name}"]`);
    // Only what has changed: a reader may be at it.
    if (cell.textContent !== row[name]) cell.textContent = row[name];
  }
  const bar = shown.querySelector("progress");
  if (row.done === null || row.total === null) {
    bar.removeAttribute("value");
  } else {
    bar.max = Math.max(row.total, 1);
    bar.value = row.total === 0 ? 1 : row.done;
  }
}

// Milliseconds until a server that gave no stream is asked again.
const PAUSE = 5000;

function follow() {
  const events = new EventSource(list.dataset.events);
  events.addEventListener("groups", (event) => {
    const page = JSON.parse(event.data);
    [...page.earlier, ...page.rows].forEach(show);
    if (page.newest !== newest) news.hidden = false;
  });
  events.addEventListener("error", () => {
    // A stream that breaks off is asked for again by the browser, but not after an answer
    // that is no stream: the server may be away.
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, PAUSE);
  });
}

follow();
