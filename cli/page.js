/* A table with a head is sorted by the column that is clicked, or chosen by Enter: numbers by value. */
const leading = (text) => {
  const found = text.replaceAll(",", "").replaceAll("−", "-").match(/^\D{0,2}?(-?\d+(\.\d+)?(e[+-]?\d+)?)/i);
  return found ? Number(found[1]) : NaN;
};
const compare = (a, b) => {
  const [x, y] = [leading(a), leading(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
};
const sort = (head) => {
  const [row, body] = [head.parentElement, head.closest("table").tBodies[0]];
  const way = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const text = (line) => line.cells[head.cellIndex].textContent.trim();
  for (const other of row.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", way === 1 ? "ascending" : "descending");
  body.append(...[...body.rows].sort((a, b) => way * compare(text(a), text(b))));
};
for (const head of document.querySelectorAll("thead th")) {
  head.tabIndex = 0;
  head.title = "sort by this column";
  head.addEventListener("click", () => sort(head));
  head.addEventListener("keydown", (event) => event.key === "Enter" && sort(head));
}
