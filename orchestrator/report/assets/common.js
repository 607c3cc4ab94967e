// What every script of the page shares: the data, texts, the colour scheme, and the note beside the pointer.
// Whatever comes from a run reaches the document as text (textContent) or an attribute, never as markup.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const text = (column, row) => column.names[column.codes[row]];
const percent = (score) => (score === null ? "–" : (100 * score).toFixed(2));
const giga = (value) => (value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3))));
const count = (value) => value.toLocaleString("en");

/** Seconds, in the unit that people would use. */
function duration(seconds) {
  if (seconds === null) return "–";
  if (seconds < 90) return `${seconds.toFixed(0)} s`;
  if (seconds < 5400) return `${(seconds / 60).toFixed(0)} min`;
  return seconds < 172800 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} d`;
}

const moment = (seconds) => new Date(1000 * seconds).toISOString().slice(0, 16).replace("T", " ") + " UTC";

/** An element with text or children in it. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** A list of names and values; empty values are left out. */
function pairs(entries, attributes = {}) {
  const list = element("dl", attributes);
  for (const [name, value] of entries) {
    if (value !== "" && value !== null && value !== undefined) list.append(element("dt", {}, name), element("dd", {}, String(value)));
  }
  return list;
}

const colours = new Map();

/** A colour of the style sheet, as it is in the scheme that is shown now. */
function colour(name) {
  if (!colours.has(name)) {
    const probe = element("span");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    colours.set(name, getComputedStyle(probe).color);
    probe.remove();
  }
  return colours.get(name);
}

const tip = {
  /** Shows a title and facts beside a point of the window. */
  show(title, entries, x, y) {
    const box = byId("tip");
    box.replaceChildren(element("b", {}, title), pairs(entries));
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    const left = x + 16 + width < innerWidth ? x + 16 : x - 16 - width;
    const top = y + 16 + height < innerHeight ? y + 16 : y - 16 - height;
    box.style.transform = `translate(${Math.max(8, Math.min(left, innerWidth - width - 8))}px, ${Math.max(8, top)}px)`;
  },
  hide() {
    byId("tip").hidden = true;
  },
};

const theme = {
  listeners: [],
  KEY: "spnas-report-theme",
  set(value) {
    if (value) document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
    colours.clear();
    for (const listener of theme.listeners) listener();
  },
};

(function () {
  let stored = "";
  try {
    stored = localStorage.getItem(theme.KEY) || "";
  } catch {
    // a browser may keep nothing for files; the choice then lasts as long as the page
  }
  byId("theme").value = ["light", "dark"].includes(stored) ? stored : "";
  theme.set(byId("theme").value);
  byId("theme").addEventListener("change", (event) => {
    theme.set(event.target.value);
    try {
      localStorage.setItem(theme.KEY, event.target.value);
    } catch {
      // as above
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme.set(byId("theme").value));
  const over = (event) => {
    const marked = event.target.closest?.("[data-tip]");
    if (marked) tip.show(marked.dataset.tip, [], event.clientX, event.clientY);
  };
  document.addEventListener("pointerover", over);
  document.addEventListener("pointerout", (event) => event.target.closest?.("[data-tip]") && tip.hide());
  document.addEventListener("keydown", (event) => event.key === "Escape" && tip.hide());
  for (const gesture of ["wheel", "touchmove"]) document.addEventListener(gesture, () => tip.hide(), { passive: true });
})();
