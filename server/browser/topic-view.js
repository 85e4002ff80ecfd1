// The part about topics: those in view, one or several, over one connection. This file joins the picker, the subscription and the panels; what a
// panel does is in its own module, and how a topic is followed in sluiceway.js.

import { eventsCommand, publishCommand } from "./commands.js";
import { byId } from "./dom.js";
import { askFor, counted, offer } from "./known.js";
import { MessageList } from "./messages.js";
import { isSelector, NAME_RULE, SELECTOR_RULE } from "./names.js";
import { PublishForm } from "./publishing.js";
import { PurgeDialog } from "./purging.js";
import { RESERVED_EVENTS, subscribe } from "./sluiceway.js";
import { StateSign } from "./state.js";

/** The server's own topics, and under which event names they speak. */
const BUILT_IN = new Map([["clock", ["time"]], ["stats", []]]);
/** So many names and patterns one connection takes. */
const MOST = 64;
/** So many messages of the past are shown at first. */
const REWIND = 50;
const WORDS = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", closed: "Closed" };

export class TopicView {
  /** @type {string[]} */ #topics = [];
  /** @type {ReturnType<typeof subscribe> | undefined} */ #subscription;
  #base;
  #topicInput = /** @type {HTMLInputElement} */ (byId("topic"));
  #namesInput = /** @type {HTMLInputElement} */ (byId("names"));
  #sign = new StateSign("state");
  #list = new MessageList(byId("messages"), byId("empty"), showCounts);
  #purging;
  #form = new PublishForm({ onDraft: () => this.#showCommands(), onSend: (draft) => this.#listenForOwn(draft) });

  /** @param {string} base Where the server is. */
  constructor(base) {
    this.#base = base;
    this.#purging = new PurgeDialog(base);
    byId("pause").addEventListener("click", () => this.#list.togglePause());
    byId("clear").addEventListener("click", () => this.#list.clear());
    byId("picker").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#pick(this.#topicInput.value);
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
    return `#${this.#topics.join(",")}`;
  }

  get title() {
    return this.#topics.join(", ");
  }

  /**
   * Bring topics into view, if they are not there.
   *
   * @param {string} text As in the address: names and patterns between commas.
   */
  show(text) {
    const same = String(listed(text)) === String(this.#topics) && this.#subscription !== undefined;
    if (!same) this.#view(text);
    this.#offerTopics();
  }

  /** @param {string} text */
  #pick(text) {
    const error = fault(listed(text));
    if (error) return this.#sayError(error);
    const hash = `#${listed(text).join(",")}`;
    if (location.hash === hash) this.#view(text);
    else location.hash = hash;
  }

  /** @param {string} text */
  #view(text) {
    const error = fault(listed(text));
    this.#topicInput.value = error ? text : listed(text).join(", ");
    this.#sayError(error);
    this.#topics = error ? [] : listed(text);
    const spoken = [...BUILT_IN].filter(([name]) => this.#covers(name)).flatMap(([, names]) => names);
    this.#namesInput.value = spoken.join(", ");
    byId("shown").textContent = this.title || "no topic";
    byId("empty").textContent = this.#emptyText();
    this.#form.showTopics(this.#topics);
    this.#purging.offer(this.#several || BUILT_IN.has(this.#topics[0]) ? "" : this.#topics[0] ?? "");
    this.#showCommands();
    this.#follow();
  }

  /** Whether what is in view is not just one topic. */
  get #several() {
    return this.#topics.length > 1 || this.#topics[0]?.endsWith("*") === true;
  }

  /** @param {string} name */
  #covers(name) {
    return this.#topics.some((entry) =>
      entry.endsWith("*") ? name.startsWith(entry.slice(0, -1)) : name === entry);
  }

  #emptyText() {
    if (this.#topics.length === 0) return "Pick a topic to see its messages.";
    const builtIn = [...BUILT_IN.keys()].some((name) => this.#covers(name));
    return builtIn ? "No message yet. The first one is on its way." : "No message yet. Publish one below.";
  }

  /** Subscribe anew to the topic in view. */
  #follow() {
    this.#subscription?.close();
    this.#subscription = undefined;
    this.#list.clear();
    this.#showState("closed", { reason: null });
    if (this.#topics.length === 0) return;
    this.#showState("connecting", {});
    const several = this.#several;
    const mine = subscribe(this.#topics, {
      base: this.#base,
      since: REWIND,
      events: this.#names(),
      onMessage: (message) => this.#list.addMessage(message),
      onGap: (gap) => this.#list.addGap(gap, several),
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
    byId("commands").hidden = this.#topics.length === 0;
    // Also before there is a topic: the form reports its first draft while it is being made.
    if (this.#topics.length === 0) return;
    const { draft } = this.#form;
    byId("curl-events").textContent = eventsCommand(this.#base, this.#topics);
    byId("curl-publish").textContent = publishCommand(this.#base, draft.topic, draft);
    byId("command-publish").hidden = draft.topic === "" || BUILT_IN.has(draft.topic);
  }

  /** Fill the picker with what the server has; without an answer, with the two every server has. */
  async #offerTopics() {
    /** @type {Map<string, number>} */
    const subscribers = new Map();
    for (const entry of await askFor(this.#base, "topics")) subscribers.set(entry.topic, entry.subscribers);
    const names = [...new Set([...BUILT_IN.keys(), ...this.#topics, ...subscribers.keys()])];
    const known = names.map((name) => {
      const title = name.endsWith("*") ? "a pattern" : counted(subscribers.get(name) ?? 0, "subscriber");
      return { name, hash: `#${name}`, title };
    });
    offer("topics", "known", known, this.#topics);
  }

  /** @param {string} text */
  #sayError(text) {
    byId("topic-error").textContent = text;
    this.#topicInput.setAttribute("aria-invalid", String(text !== ""));
  }
}

/** @param {string} text Names and patterns between commas. */
function listed(text) {
  return [...new Set(text.split(",").map((entry) => entry.trim()).filter(Boolean))];
}

/**
 * What is wrong with these names and patterns; empty: nothing.
 *
 * @param {string[]} entries
 */
function fault(entries) {
  if (entries.length > MOST) return `One connection takes ${MOST} names and patterns at most.`;
  return entries.length > 0 && entries.every(isSelector) ? "" : `${NAME_RULE} ${SELECTOR_RULE}`;
}

/** @param {{received: number, missed: number | null, waiting: number, paused: boolean}} counts */
function showCounts({ received, missed, waiting, paused }) {
  byId("pause").textContent = !paused ? "Pause" : waiting === 0 ? "Resume" : `Resume (${waiting})`;
  const lost = missed === 0 ? "" : `, ${missed === null ? "an unknown number" : missed.toLocaleString()} missed`;
  const count = `${counted(received, "message")} received${lost}`;
  byId("tally").textContent = paused ? `${count}. The list is paused, the stream is not.` : `${count}.`;
}
