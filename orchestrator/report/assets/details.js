// All that is known of one job, in a dialog.
"use strict";

const trials = data.trials;
const rowOf = new Map(trials.index.map((index, row) => [index, row]));

/** Where in the search a job is. */
function place(row) {
  const phase = text(trials.phase, row);
  if (phase === "evolution") return `generation ${trials.round[row]}`;
  return phase === "serial" ? `serial ${trials.round[row]}` : phase;
}

/** A job for the note beside the pointer. */
function describe(row) {
  const error = text(trials.error, row);
  return [
    `#${trials.index[row]} ${text(trials.role, row)} · ${place(row)}`,
    [
      [data.metric, trials.score[row] === null ? "" : percent(trials.score[row])],
      ["encoding", text(trials.architecture, row)],
      ["morphs", text(trials.morphs, row)],
      ["parent", trials.parent[row] === null ? "" : `#${trials.parent[row]}`],
      ["GFLOPs", giga(trials.gflops[row])],
      ["status", text(trials.status, row) === "completed" ? "" : text(trials.status, row)],
      ["error", error.length > 160 ? `${error.slice(0, 160)}…` : error],
    ],
  ];
}

function fact(name, value, attributes = {}) {
  const shown = value instanceof Node ? value : String(value);
  return element("div", attributes, element("dt", {}, name), element("dd", {}, shown));
}

function jobButton(index) {
  return element("button", { type: "button", class: "plain", "data-job": index }, `#${index}`);
}

/** Opens the dialog on a job. */
function openDetails(row) {
  tip.hide();
  const dialog = byId("details");
  byId("details-title").textContent = `#${trials.index[row]} ${text(trials.role, row)}, ${place(row)}`;
  const facts = element("dl", { class: "facts" });
  facts.append(fact("encoding", element("code", {}, text(trials.architecture, row)), { class: "all" }));
  const rest = [
    [data.metric, percent(trials.score[row]), trials.score[row] !== null],
    ["status", text(trials.status, row), true],
    ["morphs", text(trials.morphs, row) || "none", true],
    ["parent", trials.parent[row] === null ? "none" : jobButton(trials.parent[row]), true],
    ["backbone of", trials.backbone[row] === null ? "" : jobButton(trials.backbone[row]), trials.backbone[row] !== null],
    ["GFLOPs", giga(trials.gflops[row]), true],
    ["parameters", count(trials.parameters[row]), true],
    ["kind", text(trials.kind, row), true],
    ["recipe", text(trials.recipe, row), true],
    ["seed", text(trials.seed, row), true],
    ["worker", text(trials.worker, row), text(trials.worker, row) !== ""],
    ["time", duration(trials.seconds[row]), trials.seconds[row] !== null],
    ["attempts", trials.attempts[row], true],
    ["most memory", `${(trials.peak_memory_bytes[row] / 2 ** 30).toFixed(2)} GiB`, trials.peak_memory_bytes[row] !== null],
    ["finished", trials.finished_at[row] === null ? "" : moment(trials.finished_at[row]), trials.finished_at[row] !== null],
    ["stuck counter", trials.counter[row], trials.counter[row] !== null],
    ["has been", "a baseline", trials.is_baseline[row]],
  ];
  for (const [name, value, isThere] of rest) if (isThere) facts.append(fact(name, value));
  for (const name of ["error", "notes"]) {
    const value = text(trials[name], row);
    if (value) facts.append(fact(name, value, { class: "all" }));
  }
  const metrics = element("dl", { class: "facts" });
  trials.metricNames.forEach((name, column) => {
    const value = trials.metrics[row][column];
    if (value !== null) metrics.append(fact(`${name}, %`, percent(value)));
  });
  byId("details-body").replaceChildren(facts, metrics);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-job]");
  const row = button && rowOf.get(Number(button.dataset.job));
  if (row !== undefined && row !== null) openDetails(row);
  if (event.target === byId("details")) byId("details").close(); // beside the dialog, on what is behind it
});
