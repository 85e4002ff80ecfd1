// The import form: what to import and where to, a bar that shows how far the server is, and Cancel.

import { importRows } from "./datasets.js";
import { byId } from "./dom.js";
import { counted } from "./known.js";
import { isName, NAME_RULE } from "./names.js";
import { ProblemError } from "./sluiceway.js";

export class ImportForm {
  #base;
  #onDone;
  #form = /** @type {HTMLFormElement} */ (byId("import"));
  #fields = /** @type {HTMLFieldSetElement} */ (byId("import-fields"));
  #name = /** @type {HTMLInputElement} */ (byId("import-name"));
  #file = /** @type {HTMLInputElement} */ (byId("import-file"));
  #text = /** @type {HTMLTextAreaElement} */ (byId("import-text"));
  #bar = /** @type {HTMLProgressElement} */ (byId("import-bar"));
  #cancel = /** @type {HTMLButtonElement} */ (byId("import-cancel"));
  #result = byId("import-result");
  /** @type {ReturnType<typeof importRows> | undefined} */ #running;

  /**
   * @param {string} base
   * @param {(dataset: string) => void} onDone A dataset has new rows.
   */
  constructor(base, onDone) {
    this.#base = base;
    this.#onDone = onDone;
    this.#file.addEventListener("change", () => this.#showFile());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start();
    });
    this.#cancel.addEventListener("click", () => {
      this.#cancel.disabled = true;
      this.#running?.cancel();
    });
    this.#form.addEventListener("input", () => this.#blame(""));
  }

  /** @param {string} dataset The one in view. */
  suggest(dataset) {
    if (this.#running === undefined) this.#name.value = dataset;
  }

  #showFile() {
    const file = this.#file.files?.[0];
    this.#text.disabled = file !== undefined;
    if (file === undefined) return;
    const kind = /\.(ndjson|jsonl|json)$/i.test(file.name) ? "application/x-ndjson" : "text/csv";
    const radio = /** @type {HTMLInputElement} */ (this.#form.querySelector(`[name="import-type"][value="${kind}"]`));
    radio.checked = true;
  }

  async #start() {
    const dataset = this.#name.value.trim();
    if (!isName(dataset)) return this.#blame(NAME_RULE);
    const type = /** @type {"text/csv" | "application/x-ndjson"} */ (new FormData(this.#form).get("import-type"));
    const body = this.#file.files?.[0] ?? this.#text.value;
    this.#say("", "");
    this.#show({ current: 0, total: null, percent: 0, rows: 0 });
    this.#running = importRows(dataset, body, { type, base: this.#base, onProgress: (progress) => this.#show(progress) });
    this.#setRunning(true);
    try {
      const outcome = await this.#running.ended;
      this.#show(outcome);
      if (outcome.state === "done") {
        this.#say("done", `imported ${counted(outcome.rows, "row")} into ${dataset}`);
        this.#onDone(dataset);
      } else if (outcome.state === "cancelled") {
        this.#say("failed", "Cancelled. The dataset is as it was.");
      } else {
        this.#say("failed", `${outcome.error?.message ?? "It failed."} The dataset is as it was.`);
      }
    } catch (error) {
      if (error instanceof ProblemError) this.#say("failed", `${error.title}. ${error.detail}`.trim());
      else if (error instanceof TypeError) this.#say("failed", error.message);
      else throw error;
    } finally {
      this.#running = undefined;
      this.#setRunning(false);
    }
  }

  /** @param {boolean} running */
  #setRunning(running) {
    this.#fields.disabled = running;
    this.#cancel.hidden = !running;
    this.#cancel.disabled = false;
    byId("import-progress").dataset.running = String(running);
    if (running) this.#cancel.focus();
  }

  /** @param {import("./datasets.js").Progress} progress */
  #show({ current, total, percent, rows }) {
    byId("import-progress").hidden = false;
    if (percent === null) this.#bar.removeAttribute("value");
    else this.#bar.value = percent;
    const share = percent === null ? "" : `${percent.toFixed(1)} % · `;
    const size = total === null ? megabytes(current) : `${megabytes(current)} of ${megabytes(total)}`;
    byId("import-how-far").textContent = `${share}${size} · ${counted(rows, "row")}`;
  }

  /** @param {string} fault */
  #blame(fault) {
    byId("import-name-error").textContent = fault;
    if (fault === "") return this.#name.removeAttribute("aria-invalid");
    this.#name.setAttribute("aria-invalid", "true");
    this.#name.focus();
  }

  /**
   * @param {"done" | "failed" | ""} outcome
   * @param {string} text
   */
  #say(outcome, text) {
    this.#result.dataset.outcome = outcome;
    this.#result.textContent = text;
  }
}

/** @param {number} bytes */
function megabytes(bytes) {
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
