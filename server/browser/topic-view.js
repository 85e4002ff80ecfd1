// The part about topics: one topic in view. This file joins the picker, the subscription and the panels; what a
// panel does is in its own module, and how a topic is followed in sluiceway.js.

import { eventsCommand, publishCommand } from "./commands.js";
import { byId } from "./dom.js";
import { askFor, counted, offer } from "./known.js";
import { MessageList } from "./messages.js";
import { isName, NAME_RULE } from "./names.js";
import { PublishForm } from "./publishing.js";
import { RESERVED_EVENTS, subscribe } from "./sluiceway.js";
import { StateSign } from "./state.js";

/** The server's own topics, and under which event names they speak. */
const BUILT_IN = new Map([["clock", ["time"]], ["stats", ["stats"]]]);
/** So many messages of the past are shown at first. */
const REWIND = 50;
const WORDS = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", closed: "Closed" };

export class TopicView {
  #topic = "";
  /** @type {ReturnType<typeof subscribe> | undefined} */ #subscription;
  #base;
  #topicInput = /** @type {HTMLInputElement} */ (byId("topic"));
  #namesInput = /** @type {HTMLInputElement} */ (byId("names"));
  #sign = new StateSign("state");
  #list = new MessageList(byId("messages"), byId("empty"), showCounts);
  #form = new PublishForm({ onDraft: () => this.#showCommands(), onSend: (draft) => this.#listenForOwn(draft) });

  /** @param {string} base Where the server is. */
  constructor(base) {
    this.#base = base;
    byId("pause").addEventListener("click", () => this.#list.togglePause());
    byId("clear").addEventListener("click", () => this.#list.clear());
    byId("picker").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#pick(this.#topicInput.value.trim());
    });
    this.#topicInput.addEventListener("input", (event) => {
      this.#sayError("");
      // Chosen from the list, not typed.
      const chosen = /** @type {InputEvent} */ (event).inputType === "insertReplacementText";
      if (chosen) this.#pick(this.#topicInput.value);
    });
    this.#topicInput.addEventListener("focus", () => this.#offerTopics());
    this.#namesInput.addEventListener("change", () => this.#follow());
  }

  /** The address's hash that leads to what is in view. */
  get hash() {
    return `#${this.#topic}`;
  }

  get title() {
    return this.#topic;
  }

  /**
   * Bring a topic into view, if it is not there.
   *
   * @param {string} name
   */
  show(name) {
    const same = name === this.#topic && this.#subscription !== undefined;
    if (!same) this.#view(name);
    this.#offerTopics();
  }

  /** @param {string} name */
  #pick(name) {
    if (!isName(name)) return this.#sayError(NAME_RULE);
    const hash = `#${name}`;
    if (location.hash === hash) this.#view(name);
    else location.hash = hash;
  }

  /** @param {string} name */
  #view(name) {
    this.#topicInput.value = name;
    const valid = isName(name);
    this.#sayError(valid ? "" : NAME_RULE);
    this.#topic = valid ? name : "";
    this.#namesInput.value = (BUILT_IN.get(this.#topic) ?? []).join(", ");
    byId("shown").textContent = this.#topic || "no topic";
    byId("empty").textContent = this.#emptyText();
    this.#form.showTopic(this.#topic);
    this.#showCommands();
    this.#follow();
  }

  #emptyText() {
    if (this.#topic === "") return "Pick a topic to see its messages.";
    const builtIn = BUILT_IN.has(this.#topic);
    return builtIn ? "No message yet. The first one is on its way." : "No message yet. Publish one below.";
  }

  /** Subscribe anew to the topic in view. */
  #follow() {
    this.#subscription?.close();
    this.#subscription = undefined;
    this.#list.clear();
    this.#showState("closed", { reason: null });
    if (this.#topic === "") return;
    this.#showState("connecting", {});
    const mine = subscribe(this.#topic, {
      base: this.#base,
      since: REWIND,
      events: this.#names(),
      onMessage: (message) => this.#list.addMessage(message),
      onGap: (gap) => this.#list.addGap(gap),
      onClosing: (closing) => this.#list.addClosing(closing),
      onState: (state, detail) => mine === this.#subscription && this.#showState(state, detail),
    });
    this.#subscription = mine;
  }

  /** @param {import("./publishing.js").Draft} draft */
  #listenForOwn({ event }) {
    if (event === "" || RESERVED_EVENTS.has(event)) return;
    this.#subscription?.listen(event);
    const names = this.#names();
    if (!names.includes(event)) this.#namesInput.value = [...names, event].join(", ");
  }

  #names() {
    return this.#namesInput.value.split(",").map((name) => name.trim()).filter(Boolean);
  }

  /**
   * @param {import("./sluiceway.js").State} state
   * @param {Partial<import("./sluiceway.js").StateDetail>} detail
   */
  #showState(state, { retryMs = null, reason = null, problem = null }) {
    this.#sign.show(state, WORDS[state], retryMs);
    const why = byId("closed-why");
    const cause = problem ? `${problem.title}. ${problem.detail}` : `The server ended the stream: ${reason}.`;
    why.textContent = `${cause} “Show” tries again.`;
    why.hidden = state !== "closed" || reason === null || reason === "client";
  }

  #showCommands() {
    byId("commands").hidden = this.#topic === "";
    // Also before there is a topic: the form reports its first draft while it is being made.
    if (this.#topic === "") return;
    byId("curl-events").textContent = eventsCommand(this.#base, this.#topic);
    byId("curl-publish").textContent = publishCommand(this.#base, this.#topic, this.#form.draft);
    byId("command-publish").hidden = BUILT_IN.has(this.#topic);
  }

  /** Fill the picker with what the server has; without an answer, with the two every server has. */
  async #offerTopics() {
    /** @type {Map<string, number>} */
    const subscribers = new Map();
    for (const entry of await askFor(this.#base, "topics")) subscribers.set(entry.topic, entry.subscribers);
    const inView = this.#topic === "" ? [] : [this.#topic];
    const names = [...new Set([...BUILT_IN.keys(), ...inView, ...subscribers.keys()])];
    const known = names.map((name) => {
      return { name, hash: `#${name}`, title: counted(subscribers.get(name) ?? 0, "subscriber") };
    });
    offer("topics", "known", known, this.#topic);
  }

  /** @param {string} text */
  #sayError(text) {
    byId("topic-error").textContent = text;
    this.#topicInput.setAttribute("aria-invalid", String(text !== ""));
  }
}

/** @param {{received: number, waiting: number, paused: boolean}} counts */
function showCounts({ received, waiting, paused }) {
  byId("pause").textContent = !paused ? "Pause" : waiting === 0 ? "Resume" : `Resume (${waiting})`;
  const count = `${counted(received, "message")} received`;
  byId("tally").textContent = paused ? `${count}. The list is paused, the stream is not.` : `${count}.`;
}
