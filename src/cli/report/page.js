"use strict";
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const key = (row, at) => row.cells[at].textContent.trim();
  const number = (text) => Number(text.replaceAll(",", ""));
  [...table.tHead.rows[0].cells].forEach((head, at) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    button.title = "Sort by this column";
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows];
      const numbers = rows.every((row) => key(row, at) === "" || !Number.isNaN(number(key(row, at))));
      rows.sort((a, b) => {
        const order = numbers ? number(key(a, at)) - number(key(b, at)) : key(a, at).localeCompare(key(b, at));
        return down ? -order : order;
      });
      body.append(...rows);
    });
  });
  if (body.rows.length > 8) {
    const filter = document.createElement("input");
    filter.className = "filter";
    filter.placeholder = "filter";
    filter.setAttribute("aria-label", "Show only rows with this text");
    filter.addEventListener("input", () => {
      const wanted = filter.value.toLowerCase();
      for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
    table.parentElement.before(filter);
  }
}
