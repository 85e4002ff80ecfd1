// The client for rooms in browsers: be in one, hear everybody, be heard. It stands on the browser's own WebSocket,
// which neither reconnects nor repeats, and adds that: a connection that breaks is made again as its close code
// asks, by the same member and behind the last message that came; one that died without a word is noticed; and what
// was sent without an ack is sent again under the same ref, under which it is said once. A reload comes back as the
// same member, too. It touches no document, so it works in workers.
//
//     import { joinRoom } from "/client/rooms.js";
//     const lobby = joinRoom("lobby", { name: "Ada", onMessage: ({ from, data }) => console.log(from, data) });
//     const { id } = await lobby.send("hello");
//     lobby.close();

import { backoff } from "./backoff.js";
import { adviceFor } from "./closes.js";
import { isMemberName, isName, MEMBER_NAME_RULE, NAME_RULE } from "./names.js";
import { Outbox, RoomError } from "./outbox.js";
import { forgetSession, rememberSession, rememberedSession } from "./sessions.js";

export { RoomError };

const SUBPROTOCOL = "sluiceway.v1.json";
/** What stands before a session's secret, which so stays out of addresses and logs. */
const SESSION_SUBPROTOCOL = "sluiceway.session.";
const ABNORMAL = 1006;

/** A connection is taken for dead when a ping of ours is not answered for so long, in milliseconds. */
const PATIENCE = 10_000;
const SILENCE_CHECK = 5_000;

/** Where the server is: this module comes from `<base>client/rooms.js`. */
const HOME = new URL("..", import.meta.url).href;

/**
 * @typedef {"connecting" | "live" | "reconnecting" | "closed"} State
 *
 * @typedef {object} StateDetail
 * @property {number | null} retryMs Milliseconds until the next attempt, where one is due.
 * @property {number | null} code The close code; 1006 where there was none.
 * @property {string | null} reason Why: the words beside the close code, `client` after `close()`, `silent` or `lost`.
 * @property {boolean} resumed With `live`: as the same member as before. What was missed, `onGap` says.
 *
 * @typedef {object} Member
 * @property {string} member The public name.
 * @property {string} name
 * @property {Record<string, unknown>} state
 *
 * @typedef {object} RoomMessage
 * @property {string} id Opaque.
 * @property {string | null} from A member; null: the server side.
 * @property {unknown} data
 * @property {string} time RFC 3339, for display.
 * @property {string} [ref] As the sender gave it.
 * @property {string} [label] What the server side calls itself.
 *
 * @typedef {object} RoomOptions
 * @property {string} [name] What the others see; 1–64 characters, `guest` where none is given.
 * @property {(message: RoomMessage) => void} [onMessage] Every message, one's own included, in one order for all.
 * @property {(member: Member) => void} [onJoined]
 * @property {(member: Member) => void} [onLeft]
 * @property {(member: Member) => void} [onPresence] A member's `state` is another one now.
 * @property {(count: number) => void} [onCount] In rooms that count their members, in place of the three before.
 * @property {(signal: {from: string, data: unknown}) => void} [onSignal] Something of the moment, from a member.
 * @property {(gap: {reason: string, missed: number | null, cursor: string}) => void} [onGap] Messages were missed.
 * @property {(closing: {reason: string, reconnect: boolean, retry_ms: number}) => void} [onClosing] The server is
 *   about to close this connection.
 * @property {(state: State, detail: StateDetail) => void} [onState] Every change after the first `connecting`.
 * @property {(error: RoomError) => void} [onError] The server could not use a frame.
 * @property {string} [base] Where the server is; default: where this module came from.
 */

/**
 * Be in a room until `close()` is called, or a close code says not to come back.
 *
 * @param {string} room
 * @param {RoomOptions} [options]
 * @returns {Room}
 * @throws {TypeError} The room or the member cannot be called so.
 */
export function joinRoom(room, options = {}) {
  if (!isName(room)) throw new TypeError(NAME_RULE);
  if (!isMemberName(options.name ?? "guest")) throw new TypeError(MEMBER_NAME_RULE);
  return new Room(room, options);
}

/** One stay in a room, over as many connections as it takes. Made by `joinRoom`. */
class Room {
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {State} */ #state = "connecting";
  /** @type {Map<string, Member>} */ #members = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retry;
  /** @type {ReturnType<typeof setInterval>} */ #watch;
  /** @type {number | null} */ #pingedAt = null;
  /** @type {number | null} */ #retryMs = null;
  /** @type {URL | null} */ #url = null;
  #room;
  #options;
  #outbox = new Outbox();
  #member = "";
  /** @type {string | null} */ #session = null;
  /** @type {string | null} The id of the last message that came. */ #cursor = null;
  /** @type {Record<string, unknown> | null} */ #ownState = null;
  #memberCount = 0;
  #attempt = 0;
  #heardAt = 0;
  #heartbeat = 0;

  /**
   * @param {string} room
   * @param {RoomOptions} options
   */
  constructor(room, options) {
    this.#room = room;
    this.#options = options;
    this.#watch = setInterval(() => this.#lookForSilence(), SILENCE_CHECK);
    this.#open();
  }

  get state() {
    return this.#state;
  }

  /** This member's own public name; empty before the first `live`. It changes where a session could not be resumed. */
  get member() {
    return this.#member;
  }

  /** Who is here, in the order of coming. In a full room, not everybody: see `memberCount`. */
  get members() {
    return [...this.#members.values()];
  }

  /** How many are here. The server names the first hundred to who comes. */
  get memberCount() {
    return this.#memberCount;
  }

  /**
   * Say something to everybody in the room. Resolves once the message is in the room's history; without a
   * connection it waits for the next one.
   *
   * @param {unknown} data Anything that JSON can carry.
   * @returns {Promise<import("./outbox.js").Acknowledged>}
   * @throws {RoomError} It cannot be sent, the server refused it, or the room was closed first.
   */
  async send(data) {
    if (this.#state === "closed") throw new RoomError("room_closed", "This stay in the room has ended.");
    const { text, acknowledged } = this.#outbox.add(data);
    if (this.#state === "live") this.#socket?.send(text);
    return acknowledged;
  }

  /**
   * Replace one's presence state, of at most 1 KiB; also for every connection to come.
   *
   * @param {Record<string, unknown>} state
   */
  setState(state) {
    this.#ownState = state;
    if (this.#state === "live") this.#sendState();
  }

  /**
   * Let somebody, or everybody else, have something of the moment. It is lost where it cannot be sent now.
   *
   * @param {unknown} data
   * @param {string} [to] A member's public name.
   */
  signal(data, to) {
    if (this.#state === "live") this.#socket?.send(JSON.stringify({ type: "signal", data, to }));
  }

  #sendState() {
    if (this.#ownState === null) return;
    const own = this.#members.get(this.#member);
    // The server tells the others alone.
    if (own !== undefined) this.#members.set(this.#member, { ...own, state: this.#ownState });
    this.#socket?.send(JSON.stringify({ type: "presence", state: this.#ownState }));
  }

  /** Leave; no callback is called after the `closed` of `onState`. */
  close() {
    this.#end({ reason: "client" });
  }

  async #open() {
    let url;
    try {
      url = await this.#address();
    } catch {
      return this.#comeBack(ABNORMAL, "lost");
    }
    if (this.#state === "closed") return;
    this.#session ??= rememberedSession(url.href);
    const protocols = [SUBPROTOCOL];
    if (this.#session !== null) protocols.push(SESSION_SUBPROTOCOL + this.#session);
    const target = new URL(url);
    if (this.#cursor !== null) target.searchParams.set("last_event_id", this.#cursor);
    const socket = new WebSocket(target, protocols);
    this.#socket = socket;
    socket.addEventListener("message", (event) => socket === this.#socket && this.#onFrame(event.data));
    socket.addEventListener("close", (event) => socket === this.#socket && this.#onClose(event));
  }

  /** Rooms may be served on a port of their own; the server says where. */
  async #address() {
    this.#url ??= await roomUrl(this.#options.base ?? HOME, this.#room, this.#options.name);
    return this.#url;
  }

  /** @param {string} text */
  #onFrame(text) {
    const { type, ...frame } = JSON.parse(text);
    this.#heardAt = Date.now();
    this.#pingedAt = null;
    switch (type) {
      case "welcome":
        return this.#onWelcome(frame);
      case "message":
        this.#cursor = frame.id;
        return this.#options.onMessage?.(frame);
      case "signal":
        return this.#options.onSignal?.(frame);
      case "ack":
        return this.#outbox.acknowledge(frame);
      case "joined":
        return this.#onJoined(frame);
      case "left":
        return this.#onLeft(frame);
      case "presence":
        return this.#onPresence(frame);
      case "count":
        this.#memberCount = frame.member_count;
        return this.#options.onCount?.(this.#memberCount);
      case "gap":
        this.#cursor = frame.cursor;
        return this.#options.onGap?.(frame);
      case "error":
        return this.#onError(frame);
      case "closing":
        this.#retryMs = frame.retry_ms;
        return this.#options.onClosing?.(frame);
    }
  }

  /** @typedef {{session: string, cursor: string, resumed: boolean, heartbeat: number}} Begun */
  /** @param {Begun & {member: string, member_count: number, members: Member[]}} welcome */
  #onWelcome({ member, session, cursor, resumed, heartbeat, member_count: count, members }) {
    this.#member = member;
    this.#session = session;
    this.#cursor = cursor;
    if (this.#url !== null) rememberSession(this.#url.href, session);
    this.#memberCount = count;
    this.#members = new Map(members.map((other) => [other.member, other]));
    this.#heartbeat = heartbeat * 1000;
    this.#attempt = 0;
    this.#sendState();
    for (const frame of this.#outbox.texts) this.#socket?.send(frame);
    this.#become("live", { resumed });
  }

  /** @param {Member} member */
  #onJoined(member) {
    this.#members.set(member.member, member);
    this.#memberCount += 1;
    this.#options.onJoined?.(member);
  }

  /** @param {{member: string}} frame */
  #onLeft({ member }) {
    const who = this.#members.get(member) ?? { member, name: "", state: {} };
    this.#members.delete(member);
    this.#memberCount -= 1;
    this.#options.onLeft?.(who);
  }

  /** @param {{member: string, state: Record<string, unknown>}} frame */
  #onPresence({ member, state }) {
    const who = { ...(this.#members.get(member) ?? { member, name: "" }), state };
    if (this.#members.has(member)) this.#members.set(member, who);
    this.#options.onPresence?.(who);
  }

  /** @param {{code: string, detail: string, ref?: string}} frame */
  #onError({ code, detail, ref }) {
    const error = new RoomError(code, detail);
    if (ref !== undefined) this.#outbox.refuse(ref, error);
    this.#options.onError?.(error);
  }

  /** @param {CloseEvent} event */
  #onClose({ code, reason }) {
    this.#comeBack(code, reason || "lost");
  }

  /**
   * Do what the close code asks.
   *
   * @param {number} code
   * @param {string} reason
   */
  #comeBack(code, reason) {
    if (this.#state === "closed") return;
    const welcomed = this.#state === "live";
    const told = this.#retryMs;
    this.#socket = null;
    this.#retryMs = null;
    this.#pingedAt = null;
    const advice = adviceFor(code);
    if (advice === "never" || advice === "token") return this.#end({ code, reason });
    // At once is for a connection that stood: a server that closes each one before its welcome is left in peace.
    if (advice === "now" && welcomed) return this.#retryIn(0, code, reason);
    if (advice === "when told" && told !== null) return this.#retryIn(told, code, reason);
    this.#retryIn(backoff(this.#attempt), code, reason);
    this.#attempt += 1;
  }

  /**
   * @param {number} retryMs
   * @param {number} code
   * @param {string} reason
   */
  #retryIn(retryMs, code, reason) {
    this.#retry = setTimeout(() => this.#open(), retryMs);
    this.#become("reconnecting", { retryMs, code, reason });
  }

  /** A half-open connection (a sleeping laptop, a vanished network) looks alive to WebSocket for hours. */
  #lookForSilence() {
    if (this.#state !== "live") return;
    const now = Date.now();
    if (this.#pingedAt !== null && now - this.#pingedAt > PATIENCE) {
      const silent = this.#socket;
      // Not waited for: closing a connection that nobody answers takes its time, too.
      this.#comeBack(ABNORMAL, "silent");
      silent?.close();
    } else if (this.#pingedAt === null && now - this.#heardAt > this.#heartbeat) {
      this.#pingedAt = now;
      this.#socket?.send('{"type":"ping"}');
    }
  }

  /** @param {Partial<StateDetail>} detail */
  #end(detail) {
    if (this.#state === "closed") return;
    clearTimeout(this.#retry);
    clearInterval(this.#watch);
    const socket = this.#socket;
    this.#socket = null;
    if (this.#url !== null) forgetSession(this.#url.href);
    this.#become("closed", detail);
    this.#outbox.refuseAll(new RoomError("room_closed", "The room was left before the message was acknowledged."));
    socket?.close(1000);
  }

  /**
   * @param {State} state
   * @param {Partial<StateDetail>} [detail]
   */
  #become(state, { retryMs = null, code = null, reason = null, resumed = false } = {}) {
    this.#state = state;
    this.#options.onState?.(state, { retryMs, code, reason, resumed });
  }
}

/**
 * @param {string} base
 * @param {string} room
 * @param {string | undefined} name
 */
async function roomUrl(base, room, name) {
  const root = new URL(base, HOME);
  if (!root.pathname.endsWith("/")) root.pathname += "/";
  const answer = await fetch(new URL("client/rooms.json", root), { cache: "no-cache" });
  if (!answer.ok) throw new RoomError("unreachable", `HTTP ${answer.status}`);
  const { url: elsewhere } = await answer.json();
  const url = new URL(`rooms/${encodeURIComponent(room)}`, elsewhere === null ? root : `${elsewhere}/`);
  url.protocol = url.protocol.replace("http", "ws");
  if (name !== undefined) url.searchParams.set("name", name);
  return url;
}
