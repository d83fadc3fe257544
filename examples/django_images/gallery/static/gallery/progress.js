// Keeps the page of an upload up to date until all its variants are done.
"use strict";

const PAUSE_MS = 500;
const section = document.getElementById("progress");

async function look() {
  const response = await fetch(section.dataset.url);
  if (!response.ok) throw new Error(`progress: ${response.status}`);
  const told = await response.json();
  section.querySelector("progress").value = told.completed;
  document.getElementById("status").textContent =
    `${told.completed} of ${told.total} variants done`;
  // The server draws what is there: one place that knows how.
  if (told.ready) window.location.reload();
  else window.setTimeout(follow, PAUSE_MS);
}

function follow() {
  look().catch(() => window.setTimeout(follow, 4 * PAUSE_MS));
}

follow();
