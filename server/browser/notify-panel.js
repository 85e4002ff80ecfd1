// The panel about notifications: a command that sends one, and a button that does the same.

import { publishCommand } from "./commands.js";
import { byId } from "./dom.js";
import { counted } from "./known.js";
import { ProblemError, publish } from "./sluiceway.js";

const TOPIC = "notifications";

/** One after another: each level once, and mere text. */
const SAMPLES = [
  { title: "It flows", body: "The gate is open.", level: "success" },
  { title: "High water", body: "The basin is at 91 %.", level: "warning" },
  { title: "The gate is stuck", body: "This one stays until it is closed.", level: "error" },
  { title: "A ship comes at 14:30", level: "info" },
  "Text alone will do.",
];

export class NotifyPanel {
  #base;
  #next = 0;

  /** @param {string} base Where the server is. */
  constructor(base) {
    this.#base = base;
    byId("notify-send").addEventListener("click", () => this.#send());
    this.#showCommand();
  }

  get #sample() {
    return SAMPLES[this.#next % SAMPLES.length];
  }

  #showCommand() {
    const draft = /** @type {const} */ ({ topic: TOPIC, as: "json", data: spaced(this.#sample), event: "" });
    byId("curl-notify").textContent = publishCommand(this.#base, TOPIC, draft);
  }

  /** Send what the command shows, and show another. */
  async #send() {
    const sample = this.#sample;
    this.#next += 1;
    this.#showCommand();
    try {
      const { subscribers } = await publish(TOPIC, sample, { base: this.#base });
      this.#say("done", `sent to ${counted(subscribers, "subscriber")}`);
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      this.#say("failed", `${error.title}. ${error.detail}`);
    }
  }

  /**
   * @param {"done" | "failed"} outcome
   * @param {string} text
   */
  #say(outcome, text) {
    const result = byId("notify-result");
    result.dataset.outcome = outcome;
    result.textContent = text;
  }
}

/** @param {(typeof SAMPLES)[number]} sample As a person would write it. */
function spaced(sample) {
  if (typeof sample === "string") return JSON.stringify(sample);
  const fields = Object.entries(sample).map(([name, value]) => `"${name}": ${JSON.stringify(value)}`);
  return `{${fields.join(", ")}}`;
}
