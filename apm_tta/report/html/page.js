"use strict";
const selectAll = (query, root = document) => [...root.querySelectorAll(query)];

// Without scripts every chart is shown; with them, one chart of each figure.
for (const select of selectAll("[data-choose]")) {
  const show = () => {
    for (const figure of selectAll("figure[data-of]")) {
      if (figure.dataset.of === select.dataset.choose) figure.hidden = figure.dataset.name !== select.value;
    }
  };
  select.addEventListener("change", show);
  show();
}

const number = (text) => parseFloat(text.replace("< ", ""));
const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0);

for (const button of selectAll("[data-sort]")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, body = head.closest("table").tBodies[0], place = Number(button.dataset.sort);
    const numeric = head.classList.contains("number"), before = head.getAttribute("aria-sort");
    // Numbers start with the highest, names with A; what was not measured stays at the end.
    const descending = before === null ? numeric : before === "ascending";
    const keyed = [...body.rows].map((row) => {
      const text = row.cells[place].textContent.trim();
      return { row, key: numeric ? number(text) : text, none: numeric && Number.isNaN(number(text)) };
    });
    keyed.sort((one, other) => one.none - other.none || (one.none ? 0 : (descending ? -1 : 1) * compare(one.key, other.key)));
    for (const cell of head.parentElement.cells) cell.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    body.append(...keyed.map(({ row }) => row));
  });
}

const attachFilter = (form, items, matches, noun) => {
  form.addEventListener("submit", (event) => event.preventDefault());
  const show = () => {
    const chosen = Object.fromEntries(new FormData(form));
    for (const item of items) item.hidden = !matches(item, chosen);
    form.querySelector("output").textContent = `${items.filter((item) => !item.hidden).length} ${noun}`.replace(/^1 rows$/, "1 row");
  };
  form.addEventListener("change", show);
  show();
};

for (const form of selectAll("form[data-rows]")) {
  const rows = selectAll("tbody tr", form.parentElement);
  const holds = (cell, text) => !text || cell.textContent === text;
  const matches = (row, { condition, method }) => holds(row.cells[0], condition) && holds(row.cells[1], method);
  attachFilter(form, rows, matches, "rows");
}

attachFilter(
  document.getElementById("filter"),
  selectAll(".samples > li"),
  ({ dataset }, { condition, method, outcome, differ }) => {
    // "|" alone is the empty list of methods.
    const includesMethod = (methods) => (method ? methods.includes(`|${method}|`) : methods.length > 1);
    return (!outcome || includesMethod(dataset[outcome])) && (!condition || dataset.condition === condition)
      && (!differ || "differ" in dataset);
  },
  "shown",
);

// Without scripts all layers and iterations are shown; with them, the one that the slider names.
for (const layers of selectAll(".layers")) {
  const form = layers.querySelector("form"), figures = selectAll("figure", layers);
  const { place, opacity, contours } = form.elements;
  const show = () => {
    figures.forEach((figure, index) => { figure.hidden = index !== Number(place.value); });
    const { name } = figures[place.value].dataset;
    form.querySelector("output").textContent = name;
    place.setAttribute("aria-valuetext", name);
    layers.style.setProperty("--opacity", opacity.value / 100);
    layers.classList.toggle("plain", !contours.checked);
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", show);
  form.hidden = false;
  show();
}
