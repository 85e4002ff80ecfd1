// What a member has sent and has no ack for. Each message has a ref, under which it is repeated on the next
// connection, and under which the server acknowledges it.

/** So many sends may wait for their ack; a longer queue would only hide that nothing gets through. */
const CAPACITY = 1_000;
/** Bytes that the server takes in one frame; a longer one would end the connection for good. */
const FRAME_BYTES = 64 * 1024;
/** A surrogate alone, as JSON.stringify writes it: the server's JSON has no such thing. */
const LONE_SURROGATE = /(?:^|[^\\])(?:\\\\)*\\ud[89a-f]/;

/**
 * @typedef {object} Acknowledged
 * @property {string} id The message's id.
 * @property {boolean} duplicate The server had it already.
 *
 * @typedef {{text: string, resolve: (ack: Acknowledged) => void, reject: (error: RoomError) => void}} Waiting
 */

/** A send that came to nothing, or a frame that the server could not use. `code` is stable, for programs. */
export class RoomError extends Error {
  /**
   * @param {string} code
   * @param {string} detail
   */
  constructor(code, detail) {
    super(detail);
    this.name = "RoomError";
    this.code = code;
  }
}

export class Outbox {
  /** @type {Map<string, Waiting>} */ #waiting = new Map();

  /** The frames without an ack, oldest first. */
  get texts() {
    return [...this.#waiting.values()].map(({ text }) => text);
  }

  /**
   * Make a message of `data`, and wait for its ack.
   *
   * @param {unknown} data
   * @returns {{text: string, acknowledged: Promise<Acknowledged>}}
   * @throws {RoomError} The server would not take it.
   */
  add(data) {
    const ref = uuid();
    const text = frameText(data, ref);
    if (this.#waiting.size >= CAPACITY) {
      throw new RoomError("outbox_full", `${CAPACITY} messages are waiting to be acknowledged.`);
    }
    const acknowledged = new Promise((resolve, reject) => this.#waiting.set(ref, { text, resolve, reject }));
    return { text, acknowledged };
  }

  /** @param {{ref: string, id: string, duplicate: boolean}} ack */
  acknowledge({ ref, id, duplicate }) {
    this.#take(ref)?.resolve({ id, duplicate });
  }

  /**
   * @param {string} ref
   * @param {RoomError} error
   */
  refuse(ref, error) {
    this.#take(ref)?.reject(error);
  }

  /** @param {RoomError} error */
  refuseAll(error) {
    for (const ref of [...this.#waiting.keys()]) this.refuse(ref, error);
  }

  /** @param {string} ref */
  #take(ref) {
    const waiting = this.#waiting.get(ref);
    this.#waiting.delete(ref);
    return waiting;
  }
}

/**
 * @param {unknown} data
 * @param {string} ref
 */
function frameText(data, ref) {
  const json = JSON.stringify(data);
  if (json === undefined || LONE_SURROGATE.test(json)) {
    throw new RoomError("data_invalid", "What is sent must be JSON, and text in it whole characters.");
  }
  const text = `{"type":"message","ref":"${ref}","data":${json}}`;
  if (new TextEncoder().encode(text).length > FRAME_BYTES) {
    throw new RoomError("frame_too_large", "A message may have 64 KiB, all included.");
  }
  return text;
}

/** A version 4 UUID. `crypto.randomUUID` is missing on plain HTTP but for localhost. */
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
