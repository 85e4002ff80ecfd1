// The live list: messages as they come, with gaps and closings as rows of their own where they happened. A fast
// topic must not freeze the page, so rows wait in a bounded queue until the next frame, and only the newest are
// kept. Whatever came from the server becomes text, never markup.

import { clock, element } from "./dom.js";
import { closingNotice, gapNotice, noticeRow } from "./notices.js";
import { shortened } from "./pretty.js";

const ROWS = 200;

/** @typedef {{kind: "message", received: Date, message: import("./sluiceway.js").Message}} MessageEntry */
/** @typedef {{kind: "notice", received: Date, notice: import("./notices.js").Notice}} NoticeEntry */

export class MessageList {
  /** @type {(MessageEntry | NoticeEntry)[]} */ #waiting = [];
  #scheduled = false;
  #paused = false;
  #received = 0;
  /** @type {number | null} Null: an unknown number. */ #missed = 0;
  #list;
  #empty;
  #onChange;

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} empty Shown while there is no row.
   * @param {(counts: {received: number, missed: number | null, waiting: number, paused: boolean}) => void} onChange
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

  /**
   * @param {import("./sluiceway.js").Gap} gap
   * @param {boolean} several Whether it is to be said which topics it is about.
   */
  addGap({ reason, missed, topics }, several) {
    this.#missed = this.#missed === null || missed === null ? null : this.#missed + missed;
    const notice = gapNotice(reason, missed, several ? topics : []);
    this.#add({ kind: "notice", received: new Date(), notice });
  }

  /** @param {import("./sluiceway.js").Closing} closing */
  addClosing(closing) {
    this.#add({ kind: "notice", received: new Date(), notice: closingNotice(closing) });
  }

  togglePause() {
    this.#paused = !this.#paused;
    this.#schedule();
  }

  /** Forget the rows, also those that wait; a pause goes on. */
  clear() {
    this.#waiting = [];
    this.#received = 0;
    this.#missed = 0;
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
    const [received, missed] = [this.#received, this.#missed];
    this.#onChange({ received, missed, waiting: this.#waiting.length, paused: this.#paused });
  }
}

/** @param {MessageEntry | NoticeEntry} entry */
function row(entry) {
  return entry.kind === "message" ? messageRow(entry) : noticeRow(entry.received, entry.notice);
}

/** @param {MessageEntry} entry */
function messageRow({ received, message }) {
  const item = element("li", "message");
  const head = element("div", "message-head");
  head.append(clock(received));
  if (message.seq !== null) {
    const seq = element("span", "seq", `#${message.seq}`);
    seq.title = "Message of this topic, counted from 1";
    head.append(element("span", "topic", message.topic), seq);
  }
  if (message.event !== "message") head.append(element("span", "event", message.event));
  head.append(element("span", "id", message.id));
  item.append(head, element("pre", "data", shortened(message.data)));
  return item;
}
