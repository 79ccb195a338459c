"use strict";
const listed = (query, within = document) => [...within.querySelectorAll(query)];

// Without scripts every chart stands on the page; with them one of each figure does.
for (const select of listed("[data-choose]")) {
  const show = () => {
    for (const figure of listed("figure[data-of]")) {
      if (figure.dataset.of === select.dataset.choose) figure.hidden = figure.dataset.name !== select.value;
    }
  };
  select.addEventListener("change", show);
  show();
}

const number = (text) => parseFloat(text.replace("< ", ""));
const compared = (one, other) => (one < other ? -1 : one > other ? 1 : 0);

for (const button of listed("[data-sort]")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, body = head.closest("table").tBodies[0], place = Number(button.dataset.sort);
    const numeric = head.classList.contains("number"), before = head.getAttribute("aria-sort");
    // Best first for numbers, A first for names; what was not measured stays at the end.
    const down = before === null ? numeric : before === "ascending";
    const keyed = [...body.rows].map((row) => {
      const text = row.cells[place].textContent.trim();
      return { row, key: numeric ? number(text) : text, none: numeric && Number.isNaN(number(text)) };
    });
    keyed.sort((one, other) => one.none - other.none || (one.none ? 0 : (down ? -1 : 1) * compared(one.key, other.key)));
    for (const cell of head.parentElement.cells) cell.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...keyed.map(({ row }) => row));
  });
}

const filtered = (form, items, holds, noun) => {
  form.addEventListener("submit", (event) => event.preventDefault());
  const show = () => {
    const chosen = Object.fromEntries(new FormData(form));
    for (const item of items) item.hidden = !holds(item, chosen);
    form.querySelector("output").textContent = `${items.filter((item) => !item.hidden).length} ${noun}`;
  };
  form.addEventListener("change", show);
  show();
};

for (const form of listed("form[data-rows]")) {
  const rows = listed("tbody tr", form.parentElement);
  const is = (cell, wanted) => !wanted || cell.textContent === wanted;
  filtered(form, rows, (row, { condition, method }) => is(row.cells[0], condition) && is(row.cells[1], method), "rows");
}

filtered(
  document.getElementById("filter"),
  listed(".samples > li"),
  ({ dataset }, { condition, method, answer, differ }) => {
    const said = (methods) => (method ? methods.includes(`|${method}|`) : methods.length > 1);
    return (!answer || said(dataset[answer])) && (!condition || dataset.condition === condition)
      && (!differ || "differ" in dataset);
  },
  "shown",
);
