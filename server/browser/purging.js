// Emptying a topic takes a question first: it cannot be taken back, and others may be reading.

import { byId } from "./dom.js";
import { ProblemError, purge } from "./sluiceway.js";

export class PurgeDialog {
  #topic = "";
  #asking = false;
  #base;
  #dialog = /** @type {HTMLDialogElement} */ (byId("purge-dialog"));

  /** @param {string} base Where the server is. */
  constructor(base) {
    this.#base = base;
    byId("purge").addEventListener("click", () => this.#ask());
    byId("purge-cancel").addEventListener("click", () => this.#dialog.close());
    byId("purge-confirm").addEventListener("click", () => this.#purge());
  }

  /** @param {string} topic Empty: there is none to be emptied. */
  offer(topic) {
    this.#topic = topic;
    this.#dialog.close();
    byId("purge").hidden = topic === "";
  }

  #ask() {
    byId("purge-name").textContent = this.#topic;
    byId("purge-error").textContent = "";
    this.#dialog.showModal();
  }

  async #purge() {
    if (this.#asking) return;
    this.#asking = true;
    try {
      await purge(this.#topic, { base: this.#base });
      this.#dialog.close();
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      byId("purge-error").textContent = `${error.title}. ${error.detail}`;
    } finally {
      this.#asking = false;
    }
  }
}
