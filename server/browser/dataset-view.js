// The part about datasets: one in view, its rows as they arrive, and the form that imports. What the form does is in
// import-form.js, the table in row-table.js, and how the server is asked in datasets.js.

import { importCommand, rowsCommand } from "./commands.js";
import { readRows } from "./datasets.js";
import { byId } from "./dom.js";
import { ImportForm } from "./import-form.js";
import { askFor, counted, offer } from "./known.js";
import { isName, NAME_RULE } from "./names.js";
import { RowTable } from "./row-table.js";
import { ProblemError } from "./sluiceway.js";
import { StateSign } from "./state.js";

/** Rows that are read at once. */
const PAGE = 200;

export class DatasetView {
  #base;
  #name = "";
  #total = 0;
  #reading = new AbortController();
  #input = /** @type {HTMLInputElement} */ (byId("dataset"));
  #more = /** @type {HTMLButtonElement} */ (byId("rows-more"));
  #sign = new StateSign("rows-state");
  #table = new RowTable(/** @type {HTMLTableElement} */ (byId("rows")));
  #form;

  /** @param {string} base Where the server is. */
  constructor(base) {
    this.#base = base;
    this.#form = new ImportForm(base, (dataset) => this.#imported(dataset));
    this.#more.addEventListener("click", () => this.#read());
    byId("rows-again").addEventListener("click", () => this.#open());
    this.#input.addEventListener("input", () => this.#blame(""));
    byId("dataset-picker").addEventListener("submit", (event) => {
      event.preventDefault();
      const name = this.#input.value.trim();
      if (!isName(name)) return this.#blame(NAME_RULE);
      if (name === this.#name) this.#open();
      else location.hash = `#dataset=${name}`;
    });
  }

  /** The address's hash that leads to what is in view. */
  get hash() {
    return `#dataset=${this.#name}`;
  }

  get title() {
    return this.#name;
  }

  /** @param {string} dataset */
  show(dataset) {
    if (dataset !== this.#name || this.#table.count === 0) {
      this.#input.value = dataset;
      this.#name = isName(dataset) ? dataset : "";
      this.#blame(this.#name === "" ? NAME_RULE : "");
      if (this.#name !== "") this.#open();
    }
    this.#offer();
  }

  /** @param {string} dataset */
  #imported(dataset) {
    if (dataset === this.#name) {
      this.#open();
      this.#offer();
    } else {
      location.hash = `#dataset=${dataset}`;
    }
  }

  async #open() {
    const name = this.#name;
    this.#reading.abort();
    this.#table.clear();
    this.#total = 0;
    byId("dataset-shown").textContent = name;
    byId("curl-import").textContent = importCommand(this.#base, name);
    byId("curl-rows").textContent = rowsCommand(this.#base, name);
    this.#form.suggest(name);
    // The list never says 404, which a console would show as a fault.
    const [known] = await askFor(this.#base, "datasets", `?limit=1&after=${encodeURIComponent(justBefore(name))}`);
    if (name !== this.#name) return;
    if (known?.dataset !== name) {
      this.#sign.show("idle", "Nothing here yet");
      return this.#tell("No dataset of this name. Import one.");
    }
    const answer = await fetch(new URL(`datasets/${name}`, this.#base));
    if (name !== this.#name || !answer.ok) return;
    const { rows, columns } = await answer.json();
    this.#total = rows;
    this.#table.begin(columns);
    await this.#read();
  }

  async #read() {
    this.#reading.abort();
    const mine = (this.#reading = new AbortController());
    this.#more.hidden = true;
    this.#sign.show("live", "Reading");
    try {
      await readRows(this.#name, {
        after: this.#table.count,
        limit: PAGE,
        signal: mine.signal,
        base: this.#base,
        onRows: (rows) => {
          this.#table.add(rows);
          this.#tell("");
        },
      });
      this.#sign.show("idle", this.#table.count < this.#total ? "More to read" : "All read");
    } catch (error) {
      if (mine.signal.aborted) return;
      this.#sign.show("closed", error instanceof ProblemError ? error.detail : "The rows broke off");
    }
    this.#more.hidden = this.#table.count >= this.#total;
    this.#tell(this.#total === 0 ? "A dataset without rows." : "");
  }

  /** @param {string} empty What stands in place of rows. */
  #tell(empty) {
    byId("rows-empty").textContent = empty;
    byId("rows-empty").hidden = empty === "";
    byId("rows-tally").textContent =
      this.#total === 0 ? "" : `${this.#table.count.toLocaleString()} of ${counted(this.#total, "row")}`;
  }

  async #offer() {
    const known = await askFor(this.#base, "datasets");
    const shown = known.map(({ dataset, rows }) => ({
      name: dataset,
      hash: `#dataset=${dataset}`,
      title: counted(rows, "row"),
    }));
    offer("datasets", "known-datasets", shown, [this.#name]);
  }

  /** @param {string} fault */
  #blame(fault) {
    byId("dataset-error").textContent = fault;
    if (fault === "") this.#input.removeAttribute("aria-invalid");
    else this.#input.setAttribute("aria-invalid", "true");
  }
}

/**
 * What comes before `name` and behind every other name that does.
 *
 * @param {string} name
 */
function justBefore(name) {
  return `${name.slice(0, -1)}${String.fromCharCode(name.charCodeAt(name.length - 1) - 1)}\uffff`;
}
