// The table of rows: a line each as it arrives, a page at a time.

import { element } from "./dom.js";

export class RowTable {
  #table;
  #columns = /** @type {string[]} */ ([]);
  #count = 0;

  /** @param {HTMLTableElement} table */
  constructor(table) {
    this.#table = table;
  }

  /** How many rows it shows. */
  get count() {
    return this.#count;
  }

  /** @param {string[]} columns */
  begin(columns) {
    this.#columns = columns;
    this.#count = 0;
    const head = element("tr", "");
    head.append(...["#", ...columns].map((name) => headCell(name)));
    const top = element("thead", "");
    top.append(head);
    this.#table.replaceChildren(top, element("tbody", ""));
  }

  /** @param {Record<string, unknown>[]} rows */
  add(rows) {
    const lines = rows.map((row) => {
      const line = element("tr", "");
      const number = element("th", "", (++this.#count).toLocaleString());
      number.setAttribute("scope", "row");
      line.append(number, ...this.#columns.map((name) => cell(row[name])));
      return line;
    });
    this.#table.tBodies[0]?.append(...lines);
  }

  clear() {
    this.#count = 0;
    this.#table.replaceChildren();
  }
}

/** @param {string} name */
function headCell(name) {
  const made = element("th", "", name);
  made.setAttribute("scope", "col");
  return made;
}

/** @param {unknown} value */
function cell(value) {
  if (value === null || value === undefined) return element("td", "nothing", "null");
  if (typeof value === "string") return element("td", "", value);
  return element("td", typeof value === "number" ? "number" : "json", JSON.stringify(value));
}
