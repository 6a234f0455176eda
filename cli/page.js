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

/* The records of a run, one at a time: a slider chooses the row, and a line in each figure follows. */
const made = (name, text) => Object.assign(document.createElement(name), { textContent: text });
const across = (figure) => {
  const [first, last, left, right, top, bottom] = figure.dataset.steps.split(" ").map(Number);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  for (const [key, value] of Object.entries({ class: "now", y1: top, y2: bottom })) line.setAttribute(key, value);
  figure.append(line);
  return (step) => {
    const x = left + ((step - first) / (last - first)) * (right - left);
    for (const end of ["x1", "x2"]) line.setAttribute(end, x);
  };
};
for (const run of document.querySelectorAll(".run")) {
  const [slider, shown] = [run.querySelector("input"), run.querySelector("dl")];
  const names = [...run.querySelectorAll("thead th")].map((head) => head.textContent);
  const rows = [...run.querySelectorAll("tbody tr")].map((row) => [...row.cells].map((cell) => cell.textContent));
  const lines = [...document.querySelectorAll("svg[data-steps]")].map(across);
  const show = () => {
    const row = rows[slider.value];
    const cells = row.map((text, i) => {
      const cell = document.createElement("div");
      cell.append(made("dt", names[i]), made("dd", text || "–"));
      return cell;
    });
    shown.replaceChildren(...cells);
    slider.setAttribute("aria-valuetext", `step ${row[0]}`);
    for (const move of lines) move(leading(row[0]));
  };
  slider.hidden = false;
  slider.addEventListener("input", show);
  show();
}
