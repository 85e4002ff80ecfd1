// What is said in a room, as it comes, the newest last; who comes and goes, gaps and closings are rows of their own.
// A fast room must not freeze the page, so rows wait in a bounded queue until the next frame, and only the newest
// are kept. Whoever reads further up is left there.

import { clock, element } from "./dom.js";
import { noticeRow } from "./notices.js";
import { shortId } from "./people.js";
import { shortened } from "./pretty.js";

const ROWS = 200;
/** Pixels from the end within which the list follows what comes. */
const AT_THE_END = 40;

export class ChatLog {
  /** @type {HTMLElement[]} */ #waiting = [];
  #scheduled = false;
  #list;
  #scroller;
  #empty;

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} scroller
   * @param {HTMLElement} empty Shown while there is no row.
   */
  constructor(list, scroller, empty) {
    this.#list = list;
    this.#scroller = scroller;
    this.#empty = empty;
  }

  /**
   * @param {import("./rooms.js").RoomMessage} message
   * @param {string} name The sender's; empty where it is not known.
   * @param {boolean} own
   */
  addMessage({ id, from, data, label }, name, own) {
    const item = element("li", own ? "said own" : "said");
    const head = element("div", "message-head");
    const who = from === null ? label ?? "server" : name || "somebody";
    head.append(element("span", "name", who));
    if (own) head.append(element("span", "tag", "you"));
    if (from === null) head.append(element("span", "tag", "from the server side"));
    else head.append(element("span", "member-id", shortId(from)));
    const stamp = clock(new Date());
    stamp.title += `, id ${id}`;
    head.append(stamp);
    const text = typeof data === "string" ? element("p", "text", data) : element("pre", "data", json(data));
    item.append(head, text);
    this.#add(item);
  }

  /**
   * @param {"came" | "left"} did
   * @param {import("./rooms.js").Member} member
   */
  addMove(did, { member, name }) {
    const item = element("li", `move ${did}`);
    item.append(element("strong", "name", name || "Somebody"), ` ${did} `, element("span", "member-id", shortId(member)));
    item.append(clock(new Date()));
    this.#add(item);
  }

  /** @param {import("./notices.js").Notice} notice */
  addNotice(notice) {
    this.#add(noticeRow(new Date(), notice));
  }

  clear() {
    this.#waiting = [];
    this.#list.replaceChildren();
    this.#render();
  }

  /** @param {HTMLElement} item */
  #add(item) {
    this.#waiting.push(item);
    // Pages in the background get no frames, so the bound is kept here.
    if (this.#waiting.length > ROWS) this.#waiting.shift();
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#render();
    });
  }

  #render() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    const follows = scrollHeight - scrollTop - clientHeight < AT_THE_END;
    this.#list.append(...this.#waiting);
    this.#waiting = [];
    while (this.#list.childElementCount > ROWS) this.#list.firstElementChild?.remove();
    this.#empty.hidden = this.#list.childElementCount > 0;
    if (follows) this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }
}

/** @param {unknown} data */
function json(data) {
  return shortened(JSON.stringify(data));
}
