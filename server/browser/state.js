// The sign beside a title that says how a connection stands, in a word and a colour, and when the next attempt is.

import { byId } from "./dom.js";

/** @typedef {"idle" | "connecting" | "live" | "reconnecting" | "closed"} Shown */

export class StateSign {
  /** @type {ReturnType<typeof setInterval> | undefined} */ #countdown;
  #word;
  #more;

  /** @param {string} id The word's element; the countdown's is `<id>-more`. */
  constructor(id) {
    this.#word = byId(id);
    this.#more = byId(`${id}-more`);
  }

  /** What is shown now. */
  get state() {
    return this.#word.dataset.state;
  }

  /**
   * The word is announced, the countdown beside it is not: a number a second would be noise.
   *
   * @param {Shown} state
   * @param {string} word
   * @param {number | null} [retryMs]
   */
  show(state, word, retryMs = null) {
    this.#word.dataset.state = state;
    if (this.#word.textContent !== word) this.#word.textContent = word;
    clearInterval(this.#countdown);
    this.#more.textContent = "";
    if (retryMs === null) return;
    const due = Date.now() + retryMs;
    const tick = () => {
      const seconds = Math.ceil((due - Date.now()) / 1000);
      this.#more.textContent = seconds > 0 ? ` in ${seconds} s` : " now";
    };
    tick();
    this.#countdown = setInterval(tick, 1_000);
  }
}
