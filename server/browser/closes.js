// What a room's close code asks of a client: the table that docs/reference/rooms.md has in words.

/**
 * @typedef {"now" | "when told" | "backoff" | "token" | "never"} Advice
 *   Reconnect now; when `closing` said to; after a backoff; with a new token; not at all.
 */

/** @type {Map<number, Advice>} */
const ADVICE = new Map([
  [1000, "never"], // ended, by either side
  [1001, "now"], // going away
  [1003, "never"], // wrong frame type for the subprotocol
  [1006, "backoff"], // lost, or never reached
  [1007, "never"], // bad UTF-8
  [1008, "never"], // policy
  [1009, "never"], // a frame was too large
  [1011, "backoff"], // the server failed
  [1012, "when told"], // drained
  [1013, "backoff"], // overloaded
  [4401, "token"], // credentials expired
  [4403, "never"], // forbidden
  [4408, "now"], // a heartbeat was missed
  [4413, "now"], // too slow
  [4429, "backoff"], // rate
]);

/**
 * @param {number} code
 * @returns {Advice} For a code that is not in the table: to come back, but not at once.
 */
export function adviceFor(code) {
  return ADVICE.get(code) ?? "backoff";
}
