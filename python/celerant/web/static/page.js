// Keeps the table of states up to date; failures come with the page that follows the end.

const counts = document.querySelector("#counts");
const MINUTE = 60;
const HOUR = 3600;

function show(detail) {
  const rows = Object.entries(detail.counts)
    .filter(([, count]) => count > 0)
    .map(([state, count]) => {
      const row = document.createElement("tr");
      const name = document.createElement("th");
      const number = document.createElement("td");
      name.scope = "row";
      name.textContent = state;
      number.className = "number";
      number.textContent = count.toLocaleString();
      row.append(name, number);
      return row;
    });
  counts.replaceChildren(...rows);
  tell("rate", detail.rate === null ? "" : `${detail.rate.toFixed(1)} a second`);
  tell("left", detail.eta ? `, ${inWords(detail.eta)} left` : "");
}

function tell(id, text) {
  const shown = document.getElementById(id);
  if (shown) shown.textContent = text;
}

function inWords(seconds) {
  if (seconds < MINUTE) return `${seconds.toFixed()} s`;
  if (seconds < HOUR) return `${(seconds / MINUTE).toFixed()} min`;
  return `${(seconds / HOUR).toFixed(1)} h`;
}

document.addEventListener("progress", (event) => event.detail && show(event.detail));
document.addEventListener("end", () => location.reload());
