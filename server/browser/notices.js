// Rows that are no message: what was missed, and why the server ends a connection, in words and where it happened.

import { clock, element } from "./dom.js";

const GAPS = {
  evicted: "The server no longer keeps them.",
  overflow: "This page took them more slowly than they came.",
  epoch: "The server began anew, and the old place is not known to it.",
  limit: "More was missed than the server replays at once.",
  purged: "The topic was emptied.",
  unknown: "The connection was lost before its first event.",
};

const CLOSINGS = {
  server_draining: "The server is shutting down.",
  expired: "The credentials expired.",
  limit: "A limit of the server was reached.",
  admin: "An administrator closed the stream.",
  completed: "The stream is complete.",
  failed: "The server failed.",
};

/** @typedef {{tone: "gap" | "closing", title: string, text: string, label: string}} Notice */

/**
 * @param {string} reason
 * @param {number | null} missed Null: nobody knows how many.
 * @param {{topic: string, missed: number | null}[]} [topics] How many of which, where several are followed.
 * @returns {Notice}
 */
export function gapNotice(reason, missed, topics = []) {
  const each = topics.map(missedOf).join(", ");
  // Whoever was there has had all that was thrown away.
  const title = reason === "purged" && missed === 0 ? "Nothing was missed." : missedText(missed);
  const text = [lookUp(GAPS, reason, "The server does not say more."), each].filter(Boolean).join(" ");
  return { tone: "gap", title, text, label: `gap: ${reason}` };
}

/**
 * @param {{reason: string, reconnect: boolean, retry_ms: number | null}} closing
 * @returns {Notice}
 */
export function closingNotice({ reason, reconnect, retry_ms: retryMs }) {
  const soon = retryMs == null ? "soon" : `in about ${Math.max(1, Math.round(retryMs / 1000))} s`;
  const text = reconnect ? `The page reconnects ${soon}.` : "The page does not reconnect.";
  const title = lookUp(CLOSINGS, reason, "The server closed the stream.");
  return { tone: "closing", title, text, label: `closing: ${reason}` };
}

/**
 * @param {Date} received
 * @param {Notice} notice
 */
export function noticeRow(received, { tone, title, text, label }) {
  const item = element("li", `notice-row ${tone}`);
  const head = element("div", "message-head");
  head.append(clock(received), element("span", "event", label));
  item.append(head, element("strong", "", title), element("span", "", ` ${text}`));
  return item;
}

/** @param {{topic: string, missed: number | null}} entry */
function missedOf({ topic, missed }) {
  return missed === 0 ? topic : `${topic}: ${missed === null ? "unknown" : missed.toLocaleString()}`;
}

/** @param {number | null} missed */
function missedText(missed) {
  if (missed === null) return "An unknown number of messages was missed.";
  return missed === 1 ? "1 message was missed." : `${missed.toLocaleString()} messages were missed.`;
}

/**
 * @param {Record<string, string>} table
 * @param {string} key
 * @param {string} otherwise
 */
function lookUp(table, key, otherwise) {
  return Object.hasOwn(table, key) ? table[key] : otherwise;
}
