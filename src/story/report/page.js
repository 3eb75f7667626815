"use strict";
// Light or dark: as the system has it, until the button says otherwise.
const root = document.documentElement;
const store = {
  get() { try { return localStorage.getItem("theme"); } catch { return null; } },
  set(theme) { try { localStorage.setItem("theme", theme); } catch { /* a page from a file may not be allowed to */ } },
};
if (store.get()) root.dataset.theme = store.get();
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  store.set(root.dataset.theme);
});

// Tables: a click sorts, another turns it round. What has no value stays last.
const key = (row, column) => {
  const cell = row.cells[column];
  return cell.dataset.v ?? cell.textContent.trim();
};
const compare = (a, b) => {
  const [x, y] = [parseFloat(a), parseFloat(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, undefined, { numeric: true }) : x - y;
};
for (const table of document.querySelectorAll("table.sortable")) {
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("button")?.closest("th");
    if (!head) return;
    const first = head.classList.contains("n") && head.cellIndex > 0 ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    for (const th of table.tHead.rows[0].cells) th.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [key(row, head.cellIndex), row]);
    rows.sort(([a], [b]) => (a === "") - (b === "") || sign * compare(a, b));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  });
}

// Wrong answers of one case, or with a word in them.
const filter = document.getElementById("filter");
const [select, search, count] = [filter.querySelector("select"), filter.querySelector("input"), filter.querySelector("output")];
const records = [...document.querySelectorAll(".record")];
const show = () => {
  const [wanted, word] = [select.value, search.value.toLowerCase()];
  let shown = 0;
  for (const record of records) {
    const fits = (!wanted || record.dataset.cases.includes(` ${wanted} `)) && (!word || record.textContent.toLowerCase().includes(word));
    record.hidden = !fits;
    shown += fits;
  }
  count.value = shown;
};
filter.addEventListener("input", show);
filter.addEventListener("submit", (event) => event.preventDefault());
show();

// A link to something folded opens it.
const open = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target?.tagName === "DETAILS") target.open = true;
};
addEventListener("hashchange", open);
open();
