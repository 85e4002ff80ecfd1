// The client for browsers: subscribe to topics over one connection, publish to one, read or empty its history. It
// stands on the browser's own EventSource, which reconnects and resumes by itself, and adds what EventSource lacks:
// it comes back after an answer that makes EventSource give up for good (a proxy's 502), it notices a connection
// that died without a word, it goes on with other topics from where it stood, and it says in plain states what is
// going on. It touches no document, so it works in workers too. The manual is docs/reference/browser.md.
//
//     import { subscribe, publish } from "/client/sluiceway.js";
//     const orders = subscribe(["orders.*", "stock"], { onMessage: ({ topic, data }) => console.log(topic, data) });
//     await publish("orders.new", { total: 12 });
//     orders.close();

import { backoff } from "./backoff.js";
import { ask, HOME, ProblemError, rooted } from "./requests.js";

export { ProblemError };
export { isName as isTopicName, isSelector } from "./names.js";

/** A connection is taken for dead after this many heartbeats missed, within these bounds in milliseconds. */
const HEARTBEATS_MISSED = 3;
const SHORTEST_SILENCE = 30_000;
const LONGEST_SILENCE = 300_000;
const SILENCE_CHECK = 5_000;

/** Event names that are the server's own: no message carries one. */
export const RESERVED_EVENTS = new Set(["gap", "closing", "heartbeat", "open", "error"]);

/**
 * @typedef {"connecting" | "live" | "reconnecting" | "closed"} State
 *
 * @typedef {object} StateDetail
 * @property {number | null} retryMs Milliseconds until the next attempt, where it is known.
 * @property {string | null} reason Why: a close reason of the server's, `client` after `close()`, `silent`,
 *   `lost` or `refused`.
 * @property {ProblemError | null} problem What the server answered, where `reason` is `refused`.
 *
 * @typedef {object} Message
 * @property {string} id Opaque; resumes after this message.
 * @property {string} topic
 * @property {string} event The event name, `message` where none was published.
 * @property {string} data As it came: JSON text for what was published as JSON, else the text itself; in an
 *   envelope always JSON text.
 * @property {number | null} seq The topic's messages counted without holes; null without an envelope.
 * @property {string | null} time When it was published, for display; null without an envelope.
 *
 * @typedef {object} Gap
 * @property {string} id Where the stream goes on.
 * @property {"evicted" | "overflow" | "epoch" | "limit" | "purged" | "unknown"} reason `unknown` is this module's
 *   own: the connection was lost before anything had said where it stood.
 * @property {{topic: string, missed: number | null}[]} topics How many messages of which topic, or pattern, were
 *   missed; null: unknown.
 * @property {number | null} missed How many in all; null: unknown.
 *
 * @typedef {object} History
 * @property {{id: string, seq: number, event: string | null, data: unknown, time: string, text?: true}[]} messages
 * @property {string | null} next The id to go on with.
 * @property {Gap | null} gap What is missing before the first of them.
 *
 * @typedef {object} Closing
 * @property {string} reason
 * @property {boolean} reconnect False: the server would refuse the next attempt, so none is made.
 * @property {number | null} retry_ms
 *
 * @typedef {object} SubscribeOptions
 * @property {(message: Message) => void} [onMessage]
 * @property {(gap: Gap) => void} [onGap] Messages were missed that will not come any more.
 * @property {(closing: Closing) => void} [onClosing] The server is about to end this connection.
 * @property {(state: State, detail: StateDetail) => void} [onState] Every change after the first `connecting`.
 * @property {Iterable<string>} [events] Event names to listen for beside `message`: EventSource hands over
 *   only names it was told.
 * @property {string} [lastEventId] Resume after this id.
 * @property {"now" | "earliest" | number} [since] Where to begin without an id: now (default), at the earliest
 *   message still kept, or with the last so many of each topic.
 * @property {boolean} [envelope] Whether messages of a single topic have `seq` and `time` too; those of several
 *   always have.
 * @property {string} [base] Where the server is; default: where this module came from.
 *
 * @typedef {object} PublishOptions
 * @property {string} [event] An event name; not with `as: "text"`.
 * @property {"value" | "json" | "text"} [as] What `data` is: a value to be made JSON (default), JSON text to be
 *   sent as it stands, or plain text.
 * @property {string} [idempotencyKey] The same key within five minutes publishes once.
 * @property {string} [base] Where the server is; default: where this module came from.
 *
 * @typedef {object} Published
 * @property {string} topic
 * @property {string} id
 * @property {number} subscribers How many subscriptions on that node it went to.
 */

/**
 * Follow topics, over one connection, until `close()` is called, the server says for good that it ended, or refuses.
 *
 * @param {string | Iterable<string>} topics A topic, or several; a pattern ends in `*`. At most 64 in all.
 * @param {SubscribeOptions} [options]
 * @returns {Subscription}
 */
export function subscribe(topics, options = {}) {
  return new Subscription(topics, options);
}

/**
 * Publish one message. Resolves once the message is as durable as the server makes it.
 *
 * @param {string} topic
 * @param {unknown} data
 * @param {PublishOptions} [options]
 * @returns {Promise<Published>}
 * @throws {ProblemError}
 */
export async function publish(topic, data, { event, as = "value", idempotencyKey, base = HOME } = {}) {
  const headers = new Headers({ Accept: "application/json, application/problem+json" });
  headers.set("Content-Type", as === "text" ? "text/plain;charset=utf-8" : "application/json");
  if (idempotencyKey !== undefined) headers.set("Idempotency-Key", idempotencyKey);
  let body = String(data);
  if (as !== "text") {
    const name = event === undefined ? "" : `,"event":${JSON.stringify(event)}`;
    body = `{"data":${as === "json" ? data : JSON.stringify(data) ?? "null"}${name}}`;
  }
  const answer = await ask(topicUrl(base, topic), { method: "POST", headers, body });
  return answer.json();
}

/**
 * Read what is kept of a topic: behind `after`, oldest first, or else the newest (before `before`).
 *
 * @param {string} topic
 * @param {{after?: string, before?: string, limit?: number, base?: string}} [options] `limit`: 100, at most 1,000.
 * @returns {Promise<History>}
 * @throws {ProblemError} `topic_unknown`: it has had neither a message nor a subscriber.
 */
export async function readMessages(topic, { after, before, limit, base = HOME } = {}) {
  const url = topicUrl(base, topic, "/messages");
  for (const [name, value] of Object.entries({ after, before, limit })) {
    if (value !== undefined) url.searchParams.set(name, String(value));
  }
  const answer = await ask(url, { headers: { Accept: "application/json, application/problem+json" } });
  const { gap, ...page } = await answer.json();
  return { ...page, gap: gap && withSum(gap) };
}

/**
 * Empty a topic, for everybody: what is kept of it is gone.
 *
 * @param {string} topic
 * @param {{base?: string}} [options]
 * @throws {ProblemError} `topic_unknown`: it has had neither a message nor a subscriber.
 */
export async function purge(topic, { base = HOME } = {}) {
  await ask(topicUrl(base, topic), { method: "DELETE", headers: { Accept: "application/problem+json" } });
}

/** One subscription, over as many connections as it takes. Made by `subscribe`. */
class Subscription {
  /** @type {EventSource | null} */ #source = null;
  /** @type {State} */ #state = "connecting";
  /** @type {Closing | null} */ #closing = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retry;
  /** @type {ReturnType<typeof setInterval>} */ #watch;
  #topics;
  #options;
  #names;
  #lastEventId;
  #attempt = 0;
  #heardAt = Date.now();
  #heartbeat = 0;
  /** Whether a connection has stood, so that something may have been missed since. */
  #stood = false;

  /**
   * @param {string | Iterable<string>} topics
   * @param {SubscribeOptions} options
   */
  constructor(topics, options) {
    this.#topics = listed(topics);
    this.#options = options;
    this.#names = new Set(["message"]);
    this.#lastEventId = options.lastEventId ?? "";
    for (const name of options.events ?? []) this.listen(name);
    this.#watch = setInterval(() => this.#reconnectIfSilent(), SILENCE_CHECK);
    this.#open();
  }

  get state() {
    return this.#state;
  }

  /** The topics and patterns that are followed. */
  get topics() {
    return [...this.#topics];
  }

  /** The id to resume after; empty until one is known. */
  get lastEventId() {
    return this.#lastEventId;
  }

  /**
   * Listen for one more event name, from now on. Names in `RESERVED_EVENTS` are passed over.
   *
   * @param {string} name
   */
  listen(name) {
    if (this.#names.has(name) || RESERVED_EVENTS.has(name)) return;
    this.#names.add(name);
    this.#source?.addEventListener(name, this.#deliver);
  }

  /**
   * Follow these topics from now on, in place of those before, on a new connection. It resumes where the old one
   * stood: of what is new among them, what came after that place is delivered first.
   *
   * @param {string | Iterable<string>} topics
   */
  setTopics(topics) {
    const next = listed(topics);
    if (this.#state === "closed" || String(next) === String(this.#topics)) return;
    this.#topics = next;
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#become("connecting");
    this.#open();
  }

  /** End it; no callback is called after the `closed` of `onState`. */
  close() {
    this.#end({ reason: "client" });
  }

  #open() {
    const source = new EventSource(this.#url());
    this.#source = source;
    this.#heardAt = Date.now();
    const mayHaveMissed = this.#stood && this.#lastEventId === "" && (this.#options.since ?? "now") === "now";
    if (mayHaveMissed) this.#tellUnknown();
    source.addEventListener("open", (event) => {
      if (isMessage(event)) return;
      this.#stood = true;
      this.#attempt = 0;
      this.#heardAt = Date.now();
      this.#become("live");
    });
    // The server may send an event that is itself named `error`; that one carries data.
    source.addEventListener("error", (event) => isMessage(event) || this.#onLost(source));
    source.addEventListener("gap", (event) => this.#onGap(event));
    source.addEventListener("closing", (event) => this.#onClosing(event));
    source.addEventListener("heartbeat", (event) => this.#onHeartbeat(event));
    for (const name of this.#names) source.addEventListener(name, this.#deliver);
  }

  /** The header EventSource sends as it reconnects outranks the query, so the query may stay as it began. */
  #url() {
    const { base = HOME, since = "now", envelope = false } = this.#options;
    const [first] = this.#topics;
    const url = this.#many ? rooted(base, "events") : topicUrl(base, first, "/events");
    if (this.#many) for (const topic of this.#topics) url.searchParams.append("topic", topic);
    else if (envelope) url.searchParams.set("envelope", "1");
    // Heartbeats as events carry the id of where the stream stands: so also a silent stream can be resumed.
    url.searchParams.set("heartbeat", "event");
    if (this.#lastEventId) url.searchParams.set("last_event_id", this.#lastEventId);
    else if (since === "earliest") url.searchParams.set("last_event_id", "earliest");
    else if (since !== "now") url.searchParams.set("rewind", String(since));
    return url;
  }

  /** Whether the server is asked for several topics, and so sends envelopes. */
  get #many() {
    return this.#topics.length !== 1 || this.#topics[0].endsWith("*");
  }

  /** @param {MessageEvent} event */
  #deliver = (event) => {
    this.#hear(event);
    const enveloped = this.#many || this.#options.envelope === true;
    const content = enveloped ? unwrapped(event.data) : { topic: this.#topics[0], seq: null, time: null, data: event.data };
    this.#options.onMessage?.({ id: event.lastEventId, event: event.type, ...content });
  };

  /** @param {MessageEvent} event */
  #onGap(event) {
    this.#options.onGap?.({ ...withSum(this.#read(event)), id: event.lastEventId });
  }

  /** EventSource shows no id before the first event: it is not known where to resume. */
  #tellUnknown() {
    const topics = this.#topics.map((topic) => ({ topic, missed: null }));
    this.#options.onGap?.({ id: "", reason: "unknown", topics, missed: null });
  }

  /** @param {MessageEvent} event */
  #onClosing(event) {
    const closing = this.#read(event);
    this.#closing = closing;
    this.#options.onClosing?.(closing);
    // Before the connection ends: EventSource would come back, and be refused.
    if (closing.reconnect === false) this.#end({ reason: closing.reason });
  }

  /**
   * A heartbeat comes after a fixed silence, so the first one tells how long that is.
   *
   * @param {MessageEvent} event
   */
  #onHeartbeat(event) {
    this.#heartbeat = Math.max(this.#heartbeat, Date.now() - this.#heardAt);
    this.#hear(event);
  }

  /** @param {EventSource} source */
  #onLost(source) {
    if (this.#state === "closed" || source !== this.#source) return;
    const closing = this.#closing;
    this.#closing = null;
    if (source.readyState === EventSource.CLOSED) this.#retryLater();
    else this.#become("reconnecting", { reason: closing?.reason ?? "lost", retryMs: closing?.retry_ms ?? null });
  }

  /** A half-open connection (a sleeping laptop, a vanished network) looks alive to EventSource for hours. */
  #reconnectIfSilent() {
    if (this.#heartbeat === 0 || this.#source?.readyState !== EventSource.OPEN) return;
    const bearable = Math.max(SHORTEST_SILENCE, Math.min(LONGEST_SILENCE, HEARTBEATS_MISSED * this.#heartbeat));
    if (Date.now() - this.#heardAt <= bearable) return;
    this.#source.close();
    this.#become("reconnecting", { reason: "silent" });
    this.#open();
  }

  /** @param {number} [atLeast] Milliseconds. */
  #retryLater(atLeast = 0) {
    const retryMs = Math.max(atLeast, backoff(this.#attempt));
    this.#attempt += 1;
    this.#become("reconnecting", { reason: "lost", retryMs });
    this.#retry = setTimeout(() => this.#retryNow(), retryMs);
  }

  /** EventSource hides the status that made it give up, so the attempt after that is made where it shows. */
  async #retryNow() {
    this.#become("reconnecting", { reason: "lost" });
    const stop = new AbortController();
    const source = this.#source;
    try {
      const answer = await ask(this.#url(), { headers: { Accept: "text/event-stream" }, signal: stop.signal });
      if (this.#state === "closed" || source !== this.#source) return;
      if (answer.status === 204) this.#end({ reason: "completed" });
      else this.#open();
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      if (this.#state === "closed" || source !== this.#source) return;
      if (error.isFinal) this.#end({ reason: "refused", problem: error });
      else this.#retryLater((error.retryAfter ?? 0) * 1000);
    } finally {
      stop.abort();
    }
  }

  /** @param {MessageEvent} event */
  #read(event) {
    this.#hear(event);
    return JSON.parse(event.data);
  }

  /** @param {MessageEvent} event */
  #hear(event) {
    this.#heardAt = Date.now();
    this.#lastEventId = event.lastEventId || this.#lastEventId;
  }

  /** @param {Partial<StateDetail>} detail */
  #end(detail) {
    if (this.#state === "closed") return;
    clearTimeout(this.#retry);
    clearInterval(this.#watch);
    this.#source?.close();
    this.#source = null;
    this.#become("closed", detail);
  }

  /**
   * @param {State} state
   * @param {Partial<StateDetail>} [detail]
   */
  #become(state, { retryMs = null, reason = null, problem = null } = {}) {
    this.#state = state;
    this.#options.onState?.(state, { retryMs, reason, problem });
  }
}

/**
 * @param {string} base
 * @param {string} topic
 */
function topicUrl(base, topic, rest = "") {
  return rooted(base, `topics/${encodeURIComponent(topic)}${rest}`);
}

/** @param {string | Iterable<string>} topics */
function listed(topics) {
  const list = typeof topics === "string" ? [topics] : [...new Set(topics)];
  if (list.length === 0) throw new TypeError("at least one topic is needed");
  return list;
}

/** What stands before the data of an envelope. It is cut off: parsing would lose the digits of long numbers. */
const ENVELOPE = /^\{"topic":"([^"\\]*)","seq":(\d+),"time":"([^"\\]*)","data":/;

/** @param {string} text */
function unwrapped(text) {
  const found = ENVELOPE.exec(text);
  if (found) {
    const [head, topic, seq, time] = found;
    return { topic, seq: Number(seq), time, data: text.slice(head.length, -1) };
  }
  const { topic, seq, time, data } = JSON.parse(text);
  return { topic, seq, time, data: JSON.stringify(data) };
}

/** @param {{topics: {topic: string, missed: number | null}[]}} gap */
function withSum(gap) {
  const counts = gap.topics.map(({ missed }) => missed);
  const missed = counts.includes(null) ? null : counts.reduce((sum, count) => Number(sum) + Number(count), 0);
  return { ...gap, missed };
}

/** @param {Event} event */
function isMessage(event) {
  return "data" in event;
}
