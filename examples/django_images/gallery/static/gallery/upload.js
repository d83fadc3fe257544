// Shows what has been made of an upload, once all of it is done.
"use strict";

// The server draws what is there: one place that knows how.
document.querySelector("celerant-progress").addEventListener("end", () => window.location.reload());
