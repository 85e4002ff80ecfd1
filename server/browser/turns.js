// Questions and answers in the page, the newest last. Text comes in pieces, often many between two frames: they wait
// for the next frame and are appended to what is there, so that a long answer costs no more at its end than at its
// beginning. Whoever reads further up is left there.

import { byId, element } from "./dom.js";

/** Pixels from the end within which the list follows what comes. */
const AT_THE_END = 40;

const ENDS = {
  stopped: "Stopped.",
  abandoned: "It ended, because nobody watched it any more.",
  erased: "Somebody has erased it.",
  length: "It ended at the longest that is allowed.",
  content_filter: "The model’s provider cut it off.",
  tool_calls: "The model called a tool, which this page has none of.",
};
/** In place of the server's own words, where people need to know more. */
const FAILURES = {
  generation_unknown: "The server does not know this answer, or not any more: perhaps it was restarted.",
  generation_gone: "It ended a while ago, and the server no longer keeps it.",
  server_draining: "The server is shutting down, and ended it.",
};

export class Turns {
  /** @type {Map<HTMLElement, string>} */ #waiting = new Map();
  #scheduled = false;
  #list = byId("turns");
  #scroller = byId("chat-scroller");
  #empty = byId("chat-empty");

  /** @param {import("./conversation.js").Turn[]} turns */
  show(turns) {
    this.#waiting.clear();
    this.#list.replaceChildren();
    for (const turn of turns) this.add(turn);
    this.#empty.hidden = turns.length > 0;
    this.#toTheEnd();
  }

  /** @param {import("./conversation.js").Turn} turn */
  add(turn) {
    const own = turn.role === "user";
    const item = element("li", own ? "said own" : "said answer");
    const head = element("div", "message-head");
    head.append(element("span", "name", own ? "You" : "Answer"));
    if (turn.role === "assistant" && turn.key === null) head.append(element("span", "tag", "asked for elsewhere"));
    const text = element("p", "text", turn.content);
    text.dir = "auto";
    item.append(head, text);
    this.#list.append(item);
    this.#empty.hidden = true;
    if (turn.role === "assistant") this.showState(turn);
    this.#toTheEnd();
  }

  /** @param {string} piece More of the last answer. */
  append(piece) {
    const text = this.#last?.querySelector(".text");
    if (!(text instanceof HTMLElement)) return;
    this.#waiting.set(text, (this.#waiting.get(text) ?? "") + piece);
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => this.#flush());
  }

  /** Empty the last answer: it begins anew. */
  restart() {
    const text = this.#last?.querySelector(".text");
    this.#waiting.clear();
    text?.replaceChildren();
  }

  /**
   * How the last answer stands.
   *
   * @param {import("./conversation.js").Answer} answer
   */
  showState(answer) {
    const item = this.#last;
    if (item === null) return;
    const running = answer.state === "running";
    if (!running) this.#flush();
    item.dataset.state = answer.state;
    // Read out when it is whole, not word by word.
    item.setAttribute("aria-busy", String(running));
    item.querySelector(".end")?.remove();
    const words = endOf(answer);
    if (words === "") return;
    const follows = this.#follows;
    item.append(element("p", answer.state === "failed" ? "end error" : "end hint", words));
    if (follows) this.#toTheEnd();
  }

  get #last() {
    return /** @type {HTMLElement | null} */ (this.#list.lastElementChild);
  }

  get #follows() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < AT_THE_END;
  }

  #flush() {
    this.#scheduled = false;
    const follows = this.#follows;
    for (const [text, piece] of this.#waiting) {
      if (text.firstChild instanceof Text) text.firstChild.appendData(piece);
      else text.textContent = piece;
    }
    this.#waiting.clear();
    if (follows) this.#toTheEnd();
  }

  #toTheEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }
}

/**
 * Why it ended, in words; empty while it goes on, and where there is nothing to say.
 *
 * @param {import("./conversation.js").Answer} answer
 */
function endOf({ state, reason, message, content }) {
  if (state === "failed") return lookUp(FAILURES, reason) || message || `It failed: ${reason ?? "unknown"}.`;
  if (state === "stopped") return reason === "erased" ? ENDS.erased : ENDS.stopped;
  if (state === "abandoned") return ENDS.abandoned;
  if (state === "done") return lookUp(ENDS, reason) || (content === "" ? "The answer is empty." : "");
  return "";
}

/**
 * @param {Record<string, string>} table
 * @param {string | null} key
 */
function lookUp(table, key) {
  return key !== null && Object.hasOwn(table, key) ? table[key] : "";
}
