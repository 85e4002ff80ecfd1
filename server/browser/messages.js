// The live list: messages as they come, with gaps and closings as rows of their own where they happened. A fast
// topic must not freeze the page, so rows wait in a bounded queue until the next frame, and only the newest are
// kept. Whatever came from the server becomes text, never markup.

import { pretty } from "./pretty.js";

const ROWS = 200;
/** Longer data is cut for display: two hundred rows of a mebibyte each would be no help to anybody. */
const CHARACTERS = 20_000;

const GAPS = {
  evicted: "The server no longer keeps them.",
  overflow: "This page took them more slowly than they came.",
  epoch: "The server began anew, and the old place is not known to it.",
  limit: "More was missed than the server replays at once.",
  purged: "The topic was emptied.",
};

const CLOSINGS = {
  server_draining: "The server is shutting down.",
  expired: "The credentials expired.",
  limit: "A limit of the server was reached.",
  admin: "An administrator closed the stream.",
  completed: "The stream is complete.",
  failed: "The server failed.",
};

/** @typedef {{kind: "message", received: Date, message: import("./sluiceway.js").Message}} MessageEntry */
/** @typedef {{kind: "notice", received: Date, tone: "gap" | "closing", title: string, text: string, reason: string}} NoticeEntry */

export class MessageList {
  /** @type {(MessageEntry | NoticeEntry)[]} */ #waiting = [];
  #scheduled = false;
  #paused = false;
  #received = 0;
  #list;
  #empty;
  #onChange;

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} empty Shown while there is no row.
   * @param {(counts: {received: number, waiting: number, paused: boolean}) => void} onChange
   */
  constructor(list, empty, onChange) {
    this.#list = list;
    this.#empty = empty;
    this.#onChange = onChange;
  }

  /** @param {import("./sluiceway.js").Message} message */
  addMessage(message) {
    this.#received += 1;
    this.#add({ kind: "message", received: new Date(), message });
  }

  /** @param {import("./sluiceway.js").Gap} gap */
  addGap({ reason, topics }) {
    const text = lookUp(GAPS, reason, "The server does not say more.");
    this.#add({ kind: "notice", received: new Date(), tone: "gap", title: missed(topics), text, reason });
  }

  /** @param {import("./sluiceway.js").Closing} closing */
  addClosing({ reason, reconnect, retry_ms: retryMs }) {
    const soon = retryMs == null ? "soon" : `in about ${Math.max(1, Math.round(retryMs / 1000))} s`;
    const next = reconnect ? `The page reconnects ${soon}.` : "The page does not reconnect.";
    const title = lookUp(CLOSINGS, reason, "The server closed the stream.");
    this.#add({ kind: "notice", received: new Date(), tone: "closing", title, text: next, reason });
  }

  togglePause() {
    this.#paused = !this.#paused;
    this.#schedule();
  }

  /** Forget the rows, also those that wait; a pause goes on. */
  clear() {
    this.#waiting = [];
    this.#received = 0;
    this.#list.replaceChildren();
    this.#render();
  }

  /** @param {MessageEntry | NoticeEntry} entry */
  #add(entry) {
    this.#waiting.push(entry);
    // Pages in the background get no frames, so the bound is kept here.
    if (this.#waiting.length > ROWS) this.#waiting.shift();
    this.#schedule();
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#render();
    });
  }

  #render() {
    if (!this.#paused) {
      this.#list.prepend(...this.#waiting.reverse().map(row));
      this.#waiting = [];
      while (this.#list.childElementCount > ROWS) this.#list.lastElementChild?.remove();
    }
    this.#empty.hidden = this.#list.childElementCount > 0;
    this.#onChange({ received: this.#received, waiting: this.#waiting.length, paused: this.#paused });
  }
}

/** @param {MessageEntry | NoticeEntry} entry */
function row(entry) {
  return entry.kind === "message" ? messageRow(entry) : noticeRow(entry);
}

/** @param {MessageEntry} entry */
function messageRow({ received, message }) {
  const item = element("li", "message");
  const head = element("div", "message-head");
  head.append(time(received));
  if (message.event !== "message") head.append(element("span", "event", message.event));
  head.append(element("span", "id", message.id));
  item.append(head, element("pre", "data", shown(message.data)));
  return item;
}

/** @param {NoticeEntry} entry */
function noticeRow({ received, tone, title, text, reason }) {
  const item = element("li", `notice-row ${tone}`);
  const head = element("div", "message-head");
  head.append(time(received), element("span", "event", `${tone}: ${reason}`));
  item.append(head, element("strong", "", title), element("span", "", ` ${text}`));
  return item;
}

/** @param {Date} received */
function time(received) {
  const clock = received.toLocaleTimeString(undefined, { hourCycle: "h23", timeStyle: "medium" });
  const stamp = /** @type {HTMLTimeElement} */ (element("time", "", clock));
  stamp.dateTime = received.toISOString();
  stamp.title = `Received ${received.toISOString()}`;
  return stamp;
}

/** @param {string} data */
function shown(data) {
  if (data.length <= CHARACTERS) return pretty(data);
  return `${data.slice(0, CHARACTERS)}…\n(cut here: ${data.length.toLocaleString()} characters in all)`;
}

/** @param {{topic: string, missed: number | null}[]} topics */
function missed(topics) {
  const counts = topics.map((entry) => entry.missed);
  if (counts.length === 0 || counts.includes(null)) return "An unknown number of messages was missed.";
  const total = counts.reduce((sum, count) => Number(sum) + Number(count), 0);
  return total === 1 ? "1 message was missed." : `${total?.toLocaleString()} messages were missed.`;
}

/**
 * @param {Record<string, string>} table
 * @param {string} key
 * @param {string} otherwise
 */
function lookUp(table, key, otherwise) {
  return Object.hasOwn(table, key) ? table[key] : otherwise;
}

/**
 * @param {string} tag
 * @param {string} className
 * @param {string} [text]
 */
function element(tag, className, text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}
