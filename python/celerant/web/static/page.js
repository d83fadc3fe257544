// Keeps the table of states up to date; failures come with the page that follows the end.

const counts = document.querySelector("#counts");
const pace = document.querySelector("#pace");
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
  const told = [];
  if (detail.rate !== null) told.push(`${detail.rate.toFixed(1)} a second`);
  if (detail.eta) told.push(`${inWords(detail.eta)} left`);
  if (pace) pace.textContent = told.join(", ");
}

function inWords(seconds) {
  if (seconds < MINUTE) return `${seconds.toFixed()} s`;
  if (seconds < HOUR) return `${(seconds / MINUTE).toFixed()} min`;
  return `${(seconds / HOUR).toFixed(1)} h`;
}

document.addEventListener("progress", (event) => event.detail && show(event.detail));
document.addEventListener("end", () => location.reload());
