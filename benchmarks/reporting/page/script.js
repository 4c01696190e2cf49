// Sorts a table by the column whose heading is pressed, and shows what a heading or a dot means.
const UNITS = { "µs": 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600 };
["k", "M", "G", "T"].forEach((prefix, place) => {
  UNITS[prefix] = 1000 ** (place + 1);
  UNITS[`${prefix.toUpperCase()}iB`] = 1024 ** (place + 1);
});
const first = cell => (cell.firstChild?.textContent ?? "").trim();
const number = cell => {
  const found = /^[<\s]*([+−-]?[\d.]+)\s*([a-zµ]+)?/i.exec(first(cell));
  return found ? parseFloat(found[1].replace("−", "-")) * (UNITS[found[2]] ?? 1) : NaN;
};
const sort = (table, place, up) => {
  const text = place === 0;
  const value = row => (text ? first(row.cells[place]) : number(row.cells[place]));
  const rows = [...table.tBodies[0].rows].map(row => ({ row, value: value(row) }));
  rows.sort((a, b) => {
    if (text) return (up ? 1 : -1) * a.value.localeCompare(b.value, "en", { numeric: true });
    if (isNaN(a.value) || isNaN(b.value)) return isNaN(a.value) - isNaN(b.value); // what is missing stays last
    return (up ? 1 : -1) * (a.value - b.value);
  });
  table.tBodies[0].append(...rows.map(each => each.row));
};
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    if (head.dataset.tip) button.dataset.tip = head.dataset.tip;
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.ariaSort !== "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      sort(table, place, up);
    });
  });
}
const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
tip.setAttribute("role", "tooltip");
document.querySelector("main").append(tip);
let told = null;
const hide = () => {
  tip.hidden = true;
  told?.removeAttribute("aria-describedby");
  told = null;
};
const show = event => {
  const target = event.target.closest?.("[data-tip]");
  if (target === told) return;
  hide();
  if (!target) return;
  told = target;
  tip.textContent = target.dataset.tip;
  tip.hidden = false;
  target.setAttribute("aria-describedby", "tip");
  const at = target.getBoundingClientRect(), size = tip.getBoundingClientRect(), wide = document.documentElement.clientWidth;
  tip.style.left = `${Math.max(8, Math.min(at.left, wide - size.width - 8))}px`;
  tip.style.top = `${at.top > size.height + 8 ? at.top - size.height - 6 : at.bottom + 6}px`;
};
for (const name of ["pointerover", "focusin"]) document.addEventListener(name, show);
for (const name of ["focusout", "scroll"]) document.addEventListener(name, hide, true);
document.addEventListener("keydown", event => event.key === "Escape" && hide());
