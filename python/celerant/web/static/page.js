// Keeps the table of states up to date; failures come with the page that follows the end.

const counts = document.querySelector("#counts");

function show(detail) {
  const rows = Object.entries(detail.counts)
    .filter(([, count]) => count > 0)
    .map(([state, count]) => {
      const row = document.createElement("tr");
      const name = document.createElement("th");
      const number = document.createElement("td");
      name.scope = "row";
      name.textContent = state;
      number.textContent = count.toLocaleString();
      row.append(name, number);
      return row;
    });
  counts.replaceChildren(...rows);
}

document.addEventListener("progress", (event) => event.detail && show(event.detail));
document.addEventListener("end", () => location.reload());
