// The table of jobs. Only the rows in view are in the document, so 10,000 cost what 30 do.
"use strict";

(function () {
  const HEIGHT = 35; // of a row with its border, as the style sheet has it
  const number = (column) => (row) => trials[column][row];
  const words = (column) => (row) => text(trials[column], row);
  const columns = [
    { title: "job", value: number("index"), show: (row) => `#${trials.index[row]}`, right: true },
    { title: data.metric, value: number("score"), show: (row) => percent(trials.score[row]), right: true, best: data.maximize },
    { title: "GFLOPs", value: number("gflops"), show: (row) => giga(trials.gflops[row]), right: true },
    { title: "encoding", value: words("architecture"), code: true },
    { title: "morphs", value: words("morphs"), code: true },
    { title: "role", value: words("role") },
    { title: "phase", value: (row) => [text(trials.phase, row), String(trials.round[row]).padStart(6, "0")].join(" "), show: place },
    { title: "parent", value: number("parent"), show: (row) => (trials.parent[row] === null ? "" : `#${trials.parent[row]}`), right: true },
    { title: "parameters", value: number("parameters"), show: (row) => count(trials.parameters[row]), right: true },
    { title: "time", value: number("seconds"), show: (row) => duration(trials.seconds[row]), right: true },
    { title: "status", value: words("status") },
    { title: "worker", value: words("worker") },
    { title: "error", value: words("error") },
  ];
  const everything = trials.index.map((_, row) => row);
  const searched = new Array(everything.length); // a row's words, made when they are first asked for
  let rows = everything;
  let order = { column: 0, descending: false };
  let first = -1;

  const scroller = byId("table");
  const head = element("tr", { "aria-rowindex": 1 });
  const body = element("tbody");
  const table = element("table", { "aria-colcount": columns.length }, element("thead", {}, head), body);

  columns.forEach((column, position) => {
    const button = element("button", { type: "button" }, column.title);
    button.addEventListener("click", () => sortBy(position));
    head.append(element("th", { scope: "col", class: column.right ? "number" : "" }, button));
  });
  scroller.replaceChildren(table);

  function compare(a, b) {
    const { value } = columns[order.column];
    const [left, right] = [value(a), value(b)];
    const missing = (item) => item === null || item === "";
    if (missing(left) || missing(right)) return missing(left) - missing(right) || a - b; // those without come last, always
    const sign = order.descending ? -1 : 1;
    if (typeof left === "string") return sign * (left < right ? -1 : left > right ? 1 : 0) || a - b;
    return sign * (left - right) || a - b;
  }

  function sortBy(position) {
    const isSame = order.column === position;
    order = { column: position, descending: isSame ? !order.descending : columns[position].best === true };
    update();
  }

  function wordsOf(row) {
    searched[row] ??= [`#${trials.index[row]}`, ...["architecture", "morphs", "role", "phase", "worker", "error", "notes"].map((name) => text(trials[name], row))]
      .join(" ").toLowerCase();
    return searched[row];
  }

  function update() {
    const wanted = byId("filter-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const [role, status, front] = [byId("filter-role").value, byId("filter-status").value, byId("filter-front").checked];
    const fits = (word, row) => (/^#\d+$/.test(word) ? `#${trials.index[row]}` === word : wordsOf(row).includes(word));
    rows = everything.filter((row) =>
      (!role || text(trials.role, row) === role) && (!status || text(trials.status, row) === status) &&
      (!front || trials.on_front[row]) && wanted.every((word) => fits(word, row)));
    rows.sort(compare);
    [...head.children].forEach((cell, position) => {
      if (position === order.column) cell.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    byId("table-count").textContent = `${count(rows.length)} of ${count(everything.length)} jobs. Choose one for all about it.`;
    table.setAttribute("aria-rowcount", rows.length + 1);
    scroller.scrollTop = 0;
    first = -1;
    paint();
  }

  function filler(height) {
    const cell = element("td", { colspan: columns.length });
    cell.style.height = `${height}px`;
    return element("tr", { class: "filler", "aria-hidden": "true" }, cell);
  }

  function paint() {
    const visible = Math.ceil((scroller.clientHeight || 560) / HEIGHT) + 20;
    const top = Math.max(0, Math.min(rows.length - visible, Math.floor(scroller.scrollTop / HEIGHT) - 10));
    const from = top - (top % 2);
    if (from === first) return;
    first = from;
    const shown = rows.slice(from, from + visible);
    body.replaceChildren(
      filler(from * HEIGHT),
      ...shown.map((row, offset) => {
        const line = element("tr", { "aria-rowindex": from + offset + 2, class: trials.is_best[row] ? "is-best" : "" });
        columns.forEach((column, position) => {
          const value = (column.show || column.value)(row);
          const inner = position === 0 ? jobButton(trials.index[row]) : column.code ? element("code", {}, value) : value;
          line.append(element("td", column.right ? { class: "number" } : {}, inner));
        });
        line.addEventListener("click", () => openDetails(row));
        return line;
      }),
      filler(Math.max(0, rows.length - from - visible) * HEIGHT),
    );
  }

  for (const name of ["role", "status"]) {
    for (const value of trials[name].names) byId(`filter-${name}`).append(element("option", { value }, value));
  }
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  // Not at the change of the text: that comes with the press on a row, which would be gone before it is a click.
  byId("filter-text").addEventListener("input", update);
  for (const name of ["role", "status", "front"]) byId(`filter-${name}`).addEventListener("change", update);
  scroller.addEventListener("scroll", paint, { passive: true });
  new ResizeObserver(() => { first = -1; paint(); }).observe(scroller);
  update();
})();
