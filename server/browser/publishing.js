// The publish form: reads a draft, checks what can be checked before sending, and shows the answer, a problem
// beside the field that caused it.

import { byId } from "./dom.js";
import { isName, NAME_RULE } from "./names.js";
import { ProblemError, publish } from "./sluiceway.js";

/** @typedef {{topic: string, as: "json" | "text", data: string, event: string}} Draft */

/** Topics the server writes itself. */
const REFUSING = new Set(["clock", "stats"]);

const FIELDS = ["to", "data", "event"];

export class PublishForm {
  #topic = "";
  #form = /** @type {HTMLFormElement} */ (byId("publish"));
  #fields = /** @type {HTMLFieldSetElement} */ (byId("publish-fields"));
  #result = byId("publish-result");
  #data = /** @type {HTMLTextAreaElement} */ (byId("data"));
  #event = /** @type {HTMLInputElement} */ (byId("event"));
  #to = /** @type {HTMLInputElement} */ (byId("to"));
  #sending = false;
  #onDraft;
  #onSend;

  /**
   * @param {object} callbacks
   * @param {() => void} callbacks.onDraft The draft changed.
   * @param {(draft: Draft) => void} callbacks.onSend It is about to be published.
   */
  constructor({ onDraft, onSend }) {
    this.#onDraft = onDraft;
    this.#onSend = onSend;
    this.#form.addEventListener("input", () => this.#onInput());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#data.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#form.requestSubmit();
    });
    this.#onInput();
  }

  /** @returns {Draft} */
  get draft() {
    const as = new FormData(this.#form).get("as") === "text" ? "text" : "json";
    const topic = byId("to-field").hidden ? this.#topic : this.#to.value.trim();
    return { topic, as, data: this.#data.value, event: as === "text" ? "" : this.#event.value.trim() };
  }

  /**
   * Publish to a topic; where `names` are not one topic, to one that is chosen in the form.
   *
   * @param {string[]} names Topics and patterns in view; empty: none is.
   */
  showTopics(names) {
    const choosing = names.length > 1 || names[0]?.endsWith("*") === true;
    const topic = names.find((name) => isName(name) && !(choosing && REFUSING.has(name))) ?? "";
    this.#topic = choosing ? "" : topic;
    byId("to-field").hidden = !choosing;
    this.#to.value = topic;
    const refuses = !choosing && REFUSING.has(topic);
    this.#fields.disabled = refuses || names.length === 0;
    byId("publish-refused").hidden = !refuses;
    byId("refused-name").textContent = topic;
    this.#forget();
  }

  #onInput() {
    // A disabled fieldset keeps its radios out of FormData: then the draft is JSON, and nothing is sent anyway.
    const text = this.draft.as === "text";
    this.#event.disabled = text;
    byId("event-hint").hidden = !text;
    this.#forget();
    this.#onDraft();
  }

  async #send() {
    if (this.#sending || this.#fields.disabled) return;
    this.#forget();
    const { topic, as, data, event } = this.draft;
    if (!isName(topic)) return this.#blame("to", NAME_RULE);
    const fault = as === "json" ? jsonFault(data) : "";
    if (fault) return this.#blame("data", fault);
    this.#sending = true;
    this.#onSend(this.draft);
    try {
      const { id, subscribers } = await publish(topic, data, { as, event: event || undefined });
      const whom = subscribers === 1 ? "1 subscriber" : `${subscribers.toLocaleString()} subscribers`;
      this.#say("done", `published ${id} to ${whom}`);
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      this.#showProblem(error);
    } finally {
      this.#sending = false;
    }
  }

  /** @param {ProblemError} problem */
  #showProblem({ title, detail, errors }) {
    const elsewhere = [];
    for (const error of errors) {
      const field = FIELDS.find((name) => error.pointer === `/${name}` || error.pointer.startsWith(`/${name}/`));
      if (field) this.#blame(field, error.detail);
      else elsewhere.push(`${error.pointer || "body"}: ${error.detail}`);
    }
    this.#say("failed", [`${title}. ${detail}`.trim(), ...elsewhere].join("\n"));
  }

  /**
   * @param {string} field
   * @param {string} fault
   */
  #blame(field, fault) {
    byId(`${field}-error`).textContent = fault;
    byId(field).setAttribute("aria-invalid", "true");
    byId(field).focus();
  }

  /**
   * @param {"done" | "failed" | ""} outcome
   * @param {string} text
   */
  #say(outcome, text) {
    this.#result.dataset.outcome = outcome;
    this.#result.textContent = text;
  }

  #forget() {
    this.#say("", "");
    for (const field of FIELDS) {
      byId(`${field}-error`).textContent = "";
      byId(field).removeAttribute("aria-invalid");
    }
  }
}

/** @param {string} text */
function jsonFault(text) {
  if (text.trim() === "") return "Write some JSON, for example {\"hello\": \"world\"}, or choose plain text.";
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return `This is not JSON. ${/** @type {Error} */ (error).message}`;
  }
}
