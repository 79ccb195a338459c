"use strict";
for (const select of document.querySelectorAll("[data-choose]")) {
  select.addEventListener("change", () => {
    for (const figure of document.querySelectorAll("figure[data-of]")) {
      if (figure.dataset.of === select.dataset.choose) figure.hidden = figure.dataset.name !== select.value;
    }
  });
}
for (const button of document.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, body = head.closest("table").tBodies[0], place = Number(button.dataset.sort);
    const down = head.getAttribute("aria-sort") !== "descending";
    const key = (row) => { const text = row.cells[place].textContent; const value = parseFloat(text.replace("< ", "")); return Number.isNaN(value) ? text : value; };
    const rows = [...body.rows].sort((one, other) => {
      const a = key(one), b = key(other);
      if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
      const order = a < b ? -1 : a > b ? 1 : 0;
      return down ? -order : order;
    });
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows);
  });
}
const filter = document.getElementById("filter");
filter.addEventListener("submit", (event) => event.preventDefault());
filter.addEventListener("change", () => {
  const { condition, method, answer } = Object.fromEntries(new FormData(filter));
  let shown = 0;
  for (const card of document.querySelectorAll(".samples > li")) {
    const { right, wrong } = card.dataset;
    const holds = (methods) => (method ? methods.includes("|" + method + "|") : methods.length > 1);
    const said = answer === "right" ? holds(right) : answer === "wrong" ? holds(wrong) : true;
    card.hidden = !(said && (!condition || card.dataset.condition === condition));
    shown += !card.hidden;
  }
  document.getElementById("count").textContent = `${shown} shown`;
});
