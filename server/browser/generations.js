// Answers of a language model, in browsers: start one, watch one by its id, stop it for everybody. An answer belongs
// to the server, so a connection that breaks costs nothing: this module comes back and goes on just behind the last
// word, and a request that was cut off before its answer is sent again under the same key, so that nothing is paid
// for twice. It stands on fetch: unlike EventSource that can POST, and sees why it was refused. It touches no
// document, so it works in workers too. The manual is docs/reference/browser.md.
//
//     import { startGeneration } from "/client/generations.js";
//     const messages = [{ role: "user", content: "Hello" }];
//     const answer = startGeneration(messages, { onText: (piece) => document.body.append(piece) });
//     const { state, reason } = await answer.ended;

import { backoff } from "./backoff.js";
import { EventStreamParser } from "./event-stream.js";
import { ask, HOME, ProblemError, rooted } from "./requests.js";

export { ProblemError };

/** Where the stream has not said when to come back. */
const RETRY_MS = 2_000;
/** A connection is taken for dead after this many heartbeats missed, within these bounds in milliseconds. */
const HEARTBEATS_MISSED = 3;
const SHORTEST_SILENCE = 30_000;
const LONGEST_SILENCE = 300_000;
const SILENCE_CHECK = 5_000;
/** How long `stop` waits to hear the id of what it has to stop. */
const ID_PATIENCE = 5_000;
/** How long it waits for the stream to say that it has ended. */
const END_PATIENCE = 2_000;
/** Where these answer a question, whoever asked decides whether to ask again. A viewer comes back. */
const REFUSALS = new Set([429, 500]);
/** The stream may say that the answer has ended a moment before its state does. */
const STATE_LOOKS = 5;
const STATE_WAIT = 200;

const PLAIN = { Accept: "application/json, application/problem+json" };

/**
 * @typedef {"connecting" | "live" | "reconnecting" | "done" | "stopped" | "failed" | "abandoned" | "closed"} State
 *   The first three go on; the others are ends, and `closed` is the end of the watching alone.
 *
 * @typedef {object} Turn
 * @property {"system" | "developer" | "user" | "assistant" | "tool"} role
 * @property {string} content
 *
 * @typedef {object} StateDetail
 * @property {number | null} retryMs Milliseconds until the next attempt, while `reconnecting`.
 * @property {string | null} reason Why it ended: the server's own word; `client` after `close()`.
 * @property {string | null} message What failed, in words for people.
 * @property {ProblemError | null} problem What the server answered, where it refused.
 *
 * @typedef {object} End
 * @property {State} state
 * @property {string | null} reason
 * @property {string | null} message
 * @property {ProblemError | null} problem
 * @property {string} text All of the answer that has come.
 * @property {number | null} tokens As the server counts them; null where it was not asked.
 *
 * @typedef {object} ToolCall A piece of a call; `name` is in the first one only, `arguments` are pieces of JSON.
 * @property {number} index
 * @property {string} id
 * @property {string} name
 * @property {string} arguments
 *
 * @typedef {object} WatchOptions
 * @property {(piece: string, answer: Generation) => void} [onText]
 * @property {(call: ToolCall, answer: Generation) => void} [onToolCall]
 * @property {(state: State, detail: StateDetail, answer: Generation) => void} [onState] Every change after the first
 *   `connecting`.
 * @property {(answer: Generation) => void} [onRestart] The server begins at the beginning: forget the text so far.
 * @property {string} [text] What an earlier page had of it already,
 * @property {string} [lastEventId] and where that ends.
 * @property {string} [base] Where the server is; default: where this module came from.
 *
 * @typedef {object} RequestOptions
 * @property {string} [model]
 * @property {number} [maxTokens]
 * @property {number} [temperature]
 * @property {Record<string, unknown>} [options] The provider's own.
 * @property {"cancel" | "detach"} [onDisconnect] What becomes of it when its last viewer is gone; default: `detach`,
 *   since otherwise a cut ends it.
 * @property {number} [detachSeconds]
 * @property {string} [idempotencyKey] The same request with the same key joins what the first one started; default:
 *   a new one.
 *
 * @typedef {object} Stand How a generation stands.
 * @property {string} id
 * @property {"running" | "done" | "stopped" | "failed" | "abandoned"} state
 * @property {string | null} reason
 * @property {number} tokens
 * @property {string} text
 * @property {string} started
 * @property {string | null} ended
 */

/**
 * Ask for an answer, and watch it.
 *
 * @param {Turn[]} messages The conversation so far, the question last.
 * @param {WatchOptions & RequestOptions} [options]
 * @returns {Generation}
 */
export function startGeneration(messages, options = {}) {
  return new Generation(null, bodyOf(messages, options), options);
}

/**
 * Watch an answer that somebody has asked for: what it has so far comes at once, the rest as it is made.
 *
 * @param {string} id
 * @param {WatchOptions} [options]
 * @returns {Generation}
 */
export function joinGeneration(id, options = {}) {
  return new Generation(id, "", options);
}

/**
 * Stop an answer for everybody, the provider included. Resolves when it has ended.
 *
 * @param {string} id
 * @param {{base?: string}} [options]
 * @returns {Promise<Stand>}
 * @throws {ProblemError} `generation_unknown`, `generation_gone`.
 */
export async function stopGeneration(id, { base = HOME } = {}) {
  return (await ask(urlOf(base, id, "/stop"), { method: "POST", headers: PLAIN })).json();
}

/**
 * How an answer stands.
 *
 * @param {string} id
 * @param {{base?: string}} [options]
 * @returns {Promise<Stand>}
 * @throws {ProblemError} `generation_unknown`, `generation_gone`.
 */
export async function readGeneration(id, { base = HOME } = {}) {
  return (await ask(urlOf(base, id), { headers: PLAIN })).json();
}

/** One answer, watched over as many connections as it takes. Made by `startGeneration` and `joinGeneration`. */
class Generation {
  /** @type {Promise<End>} Resolves when there is no more to watch; never rejects. */ ended;
  /** Where to send the request again, should its answer not come. */
  idempotencyKey;
  /** @type {State} */ #state = "connecting";
  /** @type {string | null} */ #id;
  #body;
  #options;
  #base;
  #text;
  #lastEventId;
  /** @type {{code: string, message: string} | null} */ #failure = null;
  #connection = new AbortController();
  /** @type {() => void} */ #wake = () => {};
  /** @type {() => void} */ #tellId = () => {};
  /** @type {Promise<void>} */ #known;
  /** @type {(end: End) => void} */ #settle = () => {};
  #stopping = false;
  #retryMs = RETRY_MS;
  #heardAt = Date.now();
  #heartbeat = 0;
  #watch;

  /**
   * @param {string | null} id
   * @param {string} body
   * @param {WatchOptions & RequestOptions} options
   */
  constructor(id, body, options) {
    this.#id = id;
    this.#body = body;
    this.#options = options;
    this.#base = options.base ?? HOME;
    this.#text = options.text ?? "";
    this.#lastEventId = options.lastEventId ?? "";
    this.idempotencyKey = options.idempotencyKey ?? newKey();
    this.ended = new Promise((resolve) => (this.#settle = resolve));
    this.#known = new Promise((resolve) => (this.#tellId = resolve));
    if (id !== null) this.#tellId();
    this.#watch = setInterval(() => this.#cutIfSilent(), SILENCE_CHECK);
    this.#run().catch((error) => {
      reportError(error);
      this.#end("failed", { reason: "unreadable", message: "The server’s answer could not be read." });
    });
  }

  /** The server's id of it, by which anybody can join; null until the server has answered. */
  get id() {
    return this.#id;
  }

  get state() {
    return this.#state;
  }

  /** All that has come of it. */
  get text() {
    return this.#text;
  }

  /** Where `text` ends: keep both to go on after a reload. Empty until the first word. */
  get lastEventId() {
    return this.#lastEventId;
  }

  get isOver() {
    return !["connecting", "live", "reconnecting"].includes(this.#state);
  }

  /**
   * Stop it for everybody, the provider included. Resolves when it has ended.
   *
   * @throws {ProblemError} The server did not take it; the answer goes on.
   */
  async stop() {
    if (this.isOver) return;
    this.#stopping = true;
    // Who waits for the next attempt need not wait any longer, whatever comes of it.
    this.#wake();
    if (this.#id === null) {
      const patience = setTimeout(() => this.#end("stopped", { reason: "client_stopped" }), ID_PATIENCE);
      await Promise.race([this.#known, this.ended]);
      clearTimeout(patience);
    }
    if (this.#id !== null && !this.isOver) {
      try {
        await stopGeneration(this.#id, { base: this.#base });
        // A connection that died without a word would not tell.
        setTimeout(() => this.#connection.abort(), END_PATIENCE);
      } catch (error) {
        this.#stopping = false;
        if (!(error instanceof ProblemError) || !error.isFinal) throw error;
        // It is not there any more, which the next connection is told.
        this.#connection.abort();
      }
      this.#wake();
    }
    await this.ended;
  }

  /** Watch no longer. What becomes of the answer is as it was asked for. */
  close() {
    this.#end("closed", { reason: "client" });
  }

  async #run() {
    for (let failures = 0; !this.isOver; ) {
      let retryMs;
      try {
        const answer = await this.#connect();
        if (this.isOver) return;
        failures = 0;
        if (answer.status === 204 || (await this.#follow(answer))) return await this.#conclude();
        retryMs = this.#stopping ? STATE_WAIT : this.#retryMs;
      } catch (error) {
        if (this.isOver) return;
        if (!(error instanceof ProblemError)) throw error;
        if (error.isFinal || (this.#id === null && REFUSALS.has(error.status))) return this.#refuse(error);
        retryMs = Math.max(backoff(failures), (error.retryAfter ?? 0) * 1000);
        failures += 1;
      }
      if (this.isOver) return;
      if (this.#stopping && this.#id === null) return this.#end("stopped", { reason: "client_stopped" });
      this.#become("reconnecting", { retryMs });
      await this.#pause(retryMs);
      this.#become("reconnecting");
    }
  }

  async #connect() {
    this.#connection = new AbortController();
    this.#heardAt = Date.now();
    const { signal } = this.#connection;
    const headers = new Headers({ Accept: "text/event-stream" });
    if (this.#id !== null) {
      if (this.#lastEventId) headers.set("Last-Event-ID", this.#lastEventId);
      return streamed(await ask(urlOf(this.#base, this.#id, "/events"), { headers, signal }));
    }
    headers.set("Content-Type", "application/json");
    headers.set("Idempotency-Key", this.idempotencyKey);
    const url = rooted(this.#base, "generations");
    const answer = streamed(await ask(url, { method: "POST", headers, body: this.#body, signal }));
    // A server that shuts down answers with a stream too, but has started nothing.
    const location = answer.headers.get("Location");
    if (location !== null) {
      this.#id = location.split("/").pop() ?? "";
      this.#tellId();
    }
    return answer;
  }

  /**
   * @param {Response} answer
   * @returns {Promise<boolean>} Whether it has come to its end; else it was cut off.
   */
  async #follow(answer) {
    if (answer.body === null) return false;
    if (this.#id !== null) this.#become("live");
    const reader = answer.body.getReader();
    const decoder = new TextDecoder();
    const parser = new EventStreamParser();
    let isFirst = true;
    try {
      for (;;) {
        // It rejects where the body breaks off, and where it is aborted.
        const next = await reader.read().catch(() => null);
        if (next === null || next.done || this.isOver) return false;
        this.#hear();
        for (const block of parser.push(decoder.decode(next.value, { stream: true }))) {
          if (isFirst) this.#begin(block);
          isFirst = false;
          if (this.#take(block)) return true;
          if (this.isOver) return false;
        }
      }
    } finally {
      this.#connection.abort();
    }
  }

  /**
   * The first block says where the stream begins.
   *
   * @param {import("./event-stream.js").Block} block
   */
  #begin({ event, data, id }) {
    if (event === "closing" || (data === null && id === this.#lastEventId) || this.#text === "") return;
    // It could not go on from there, so all of it comes again.
    this.#text = "";
    this.#tell(this.#options.onRestart, this);
  }

  /**
   * @param {import("./event-stream.js").Block} block
   * @returns {boolean} Whether nothing comes behind it.
   */
  #take({ event, data, id, retryMs }) {
    if (retryMs !== null) this.#retryMs = retryMs;
    if (id !== null) this.#lastEventId = id;
    if (data === null) return false;
    if (event === "token") {
      const { content } = JSON.parse(data);
      this.#text += content;
      this.#tell(this.#options.onText, content, this);
    } else if (event === "tool_call") {
      this.#tell(this.#options.onToolCall, JSON.parse(data), this);
    } else if (event === "error") {
      this.#failure = JSON.parse(data);
    } else if (event === "closing") {
      const closing = JSON.parse(data);
      this.#retryMs = closing.retry_ms ?? this.#retryMs;
      if (closing.reconnect === false) this.#failure = { code: closing.reason, message: "The server ended the stream." };
    }
    return event === "done" || this.#failure !== null;
  }

  /** It has ended, and the stream does not tell how. */
  async #conclude() {
    if (this.#failure) {
      const { code, message } = this.#failure;
      return this.#end("failed", { reason: code, message });
    }
    for (let looks = 0; looks < STATE_LOOKS; looks += 1) {
      try {
        const { state, reason, tokens } = await readGeneration(this.#id ?? "", { base: this.#base });
        if (state !== "running") return this.#end(state, { reason }, tokens);
      } catch (error) {
        if (!(error instanceof ProblemError)) throw error;
        if (error.code === "generation_unknown") return this.#end("stopped", { reason: "erased" });
        if (error.isFinal) break;
      }
      await this.#pause(STATE_WAIT);
    }
    // The text is whole, which is what counts.
    this.#end("done");
  }

  /** @param {ProblemError} problem */
  #refuse(problem) {
    this.#end("failed", { reason: problem.code ?? "refused", message: problem.message, problem });
  }

  /** A half-open connection (a sleeping laptop, a vanished network) looks alive for hours. */
  #cutIfSilent() {
    const bearable =
      this.#heartbeat === 0
        ? LONGEST_SILENCE
        : Math.max(SHORTEST_SILENCE, Math.min(LONGEST_SILENCE, HEARTBEATS_MISSED * this.#heartbeat));
    if (Date.now() - this.#heardAt > bearable) this.#connection.abort();
  }

  /** The longest silence that ended with a sign of life is what a heartbeat takes, or nearly. */
  #hear() {
    const silence = Date.now() - this.#heardAt;
    this.#heardAt += silence;
    if (this.#state === "live") this.#heartbeat = Math.max(this.#heartbeat, silence);
  }

  /** @param {number} milliseconds */
  async #pause(milliseconds) {
    /** @type {ReturnType<typeof setTimeout> | undefined} */ let timer;
    await new Promise((resolve) => {
      this.#wake = () => resolve(undefined);
      timer = setTimeout(resolve, milliseconds);
    });
    clearTimeout(timer);
    this.#wake = () => {};
  }

  /**
   * @param {State} state
   * @param {{reason?: string | null, message?: string | null, problem?: ProblemError | null}} [detail]
   * @param {number | null} [tokens]
   */
  #end(state, { reason = null, message = null, problem = null } = {}, tokens = null) {
    if (this.isOver) return;
    clearInterval(this.#watch);
    this.#become(state, { reason, message, problem });
    this.#connection.abort();
    this.#wake();
    this.#settle({ state, reason, message, problem, text: this.#text, tokens });
  }

  /**
   * @param {State} state
   * @param {Partial<StateDetail>} [detail]
   */
  #become(state, { retryMs = null, reason = null, message = null, problem = null } = {}) {
    if (this.isOver) return;
    this.#state = state;
    this.#tell(this.#options.onState, state, { retryMs, reason, message, problem }, this);
  }

  /**
   * What a caller's function throws is reported, and stops nothing.
   *
   * @template {unknown[]} A
   * @param {((...args: A) => void) | undefined} listener
   * @param {A} args
   */
  #tell(listener, ...args) {
    try {
      listener?.(...args);
    } catch (error) {
      reportError(error);
    }
  }
}

/**
 * @param {Turn[]} messages
 * @param {RequestOptions} options
 */
function bodyOf(messages, { model, maxTokens, temperature, options, onDisconnect = "detach", detachSeconds }) {
  return JSON.stringify({
    messages,
    model,
    max_tokens: maxTokens,
    temperature,
    on_disconnect: onDisconnect,
    detach_seconds: detachSeconds,
    options,
  });
}

/**
 * @param {string} base
 * @param {string} id
 */
function urlOf(base, id, rest = "") {
  return rooted(base, `generations/${encodeURIComponent(id)}${rest}`);
}

/**
 * The answer, where it is one of the server's own: a proxy's page is none.
 *
 * @param {Response} answer
 */
function streamed(answer) {
  const type = answer.headers.get("Content-Type") ?? "";
  if (answer.status === 204 || type.startsWith("text/event-stream")) return answer;
  throw new ProblemError(answer.status, { code: "unreadable", title: "The answer is no event stream" });
}

/** A new idempotency key: 128 random bits. `crypto.randomUUID` is there on secure origins only. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
