// Toasts: short messages in a corner of the page, each gone after a while. This file knows no server, and builds all
// its elements itself; how they look is in toasts.css. Text goes in as text, never as markup. However many come, the
// page shows a handful and counts the others.
//
// They are a live region, so a screen reader says each one when it has nothing else to say. None goes while the
// pointer or the focus is on them, or while nobody sees the page. F8 goes to the newest, Escape closes the one that
// has the focus, and the focus then goes to the next one or back to where it came from.

import { element } from "./dom.js";

/** Longer text is cut: a toast is read at a glance. */
const TITLE_CHARACTERS = 100;
const BODY_CHARACTERS = 300;
/** One that is held is looked at again after so long, in milliseconds. */
const HELD = 2_500;

/** Said before the text, since nothing is told by colour alone. */
const LEVELS = { info: "", success: "Success: ", warning: "Warning: ", error: "Error: " };

/** @typedef {keyof typeof LEVELS} Level */

/**
 * @typedef {object} Notification
 * @property {string} [title]
 * @property {string} [body]
 * @property {Level} [level] An `error` stays until it is closed. Default: `info`.
 *
 * @typedef {object} ToastOptions
 * @property {number} [most] So many, 1 or more, are shown at once; older ones are only counted. Default: 4.
 * @property {number} [seconds] How long each stays. Default: 8.
 * @property {string} [more] Where the count of those that are not shown leads to; empty: nowhere.
 */

export class Toasts {
  /** @type {Notification[]} */ #waiting = [];
  /** @type {Element | null} */ #cameFrom = null;
  #hidden = 0;
  #scheduled = false;
  #most;
  #seconds;
  #region = element("section", "toasts");
  #list = element("div", "toasts-list");
  #more = element("div", "toasts-more");
  #count;

  /** @param {ToastOptions} [options] */
  constructor({ most = 4, seconds = 8, more = "" } = {}) {
    this.#most = Math.max(1, most);
    this.#seconds = seconds;
    this.#region.setAttribute("aria-label", "Notifications (F8)");
    this.#list.setAttribute("role", "status");
    this.#list.setAttribute("aria-live", "polite");
    // A status is read out as a whole otherwise, the old ones with each new one.
    this.#list.setAttribute("aria-atomic", "false");
    this.#list.setAttribute("aria-relevant", "additions");
    this.#count = element(more === "" ? "span" : "a", "toasts-count");
    if (more !== "") this.#count.setAttribute("href", more);
    this.#more.append(this.#count, button("Close all", "", () => this.closeAll()));
    this.#more.hidden = true;
    this.#region.append(this.#more, this.#list);
    this.#region.addEventListener("focusin", ({ relatedTarget }) => this.#onFocus(relatedTarget));
    this.#region.addEventListener("keydown", (event) => this.#onKey(event));
    document.addEventListener("keydown", this.#onShortcut);
    document.body.append(this.#region);
  }

  /** @param {Notification} notification */
  show(notification) {
    this.#waiting.push(notification);
    if (this.#waiting.length > this.#most) {
      this.#waiting.shift();
      this.#hidden += 1;
    }
    if (this.#scheduled) return;
    this.#scheduled = true;
    // In one go for all that come together: a burst must not freeze the page.
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#render();
    });
  }

  closeAll() {
    const hadFocus = this.#region.contains(document.activeElement);
    this.#list.replaceChildren();
    this.#showCount();
    if (hadFocus) this.#giveFocusBack();
  }

  /** Take them off the page for good. */
  remove() {
    this.closeAll();
    document.removeEventListener("keydown", this.#onShortcut);
    this.#region.remove();
  }

  #render() {
    for (const notification of this.#waiting) this.#add(notification);
    this.#waiting = [];
    while (this.#list.childElementCount > this.#most) {
      // The oldest, but not one that somebody is on.
      const goes = [...this.#list.children].find((toast) => !toast.contains(document.activeElement));
      goes?.remove();
      this.#hidden += 1;
    }
    this.#showCount();
  }

  /** @param {Notification} notification */
  #add({ title = "", body = "", level = "info" }) {
    const toast = element("div", "toast");
    toast.dataset.level = level;
    const words = element("div", "toast-words");
    if (LEVELS[level]) words.append(element("span", "toast-level", LEVELS[level]));
    if (title) words.append(element("p", "toast-title", cut(title, TITLE_CHARACTERS)));
    if (body) words.append(element("p", "toast-body", cut(body, BODY_CHARACTERS)));
    toast.append(words, button("×", "Close this notification", () => this.#close(toast)));
    this.#list.append(toast);
    if (level !== "error") setTimeout(() => this.#expire(toast), this.#seconds * 1000);
  }

  /** @param {Element} toast */
  #expire(toast) {
    if (!toast.isConnected) return;
    const held = document.hidden || this.#region.matches(":hover, :focus-within");
    if (held) setTimeout(() => this.#expire(toast), HELD);
    else this.#close(toast);
  }

  /** @param {Element} toast */
  #close(toast) {
    const hadFocus = toast.contains(document.activeElement);
    const next = toast.nextElementSibling ?? toast.previousElementSibling;
    toast.remove();
    this.#showCount();
    if (hadFocus && next) next.querySelector("button")?.focus();
    else if (hadFocus) this.#giveFocusBack();
  }

  #showCount() {
    if (!this.#list.hasChildNodes()) this.#hidden = 0;
    this.#more.hidden = this.#hidden === 0;
    this.#count.textContent = `and ${this.#hidden.toLocaleString()} more`;
  }

  /** @param {EventTarget | null} before */
  #onFocus(before) {
    const outside = before instanceof HTMLElement && !this.#region.contains(before);
    if (outside) this.#cameFrom = before;
  }

  #giveFocusBack() {
    if (this.#cameFrom instanceof HTMLElement) this.#cameFrom.focus();
    this.#cameFrom = null;
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const toast = document.activeElement?.closest(".toast");
    if (event.key !== "Escape" || !toast) return;
    // The page may have a meaning of its own for it.
    event.stopPropagation();
    this.#close(toast);
  }

  /** @param {KeyboardEvent} event */
  #onShortcut = (event) => {
    const plain = !(event.ctrlKey || event.altKey || event.metaKey || event.shiftKey);
    const newest = this.#list.lastElementChild?.querySelector("button");
    if (event.key !== "F8" || !plain || !newest) return;
    event.preventDefault();
    newest.focus();
  };
}

/**
 * @param {string} text
 * @param {string} label What it is called where the text is a mere sign.
 * @param {() => void} onClick
 */
function button(text, label, onClick) {
  const made = /** @type {HTMLButtonElement} */ (element("button", "toast-button", text));
  made.type = "button";
  if (label) made.setAttribute("aria-label", label);
  made.addEventListener("click", onClick);
  return made;
}

/**
 * @param {string} text
 * @param {number} most
 */
function cut(text, most) {
  const characters = Array.from(text.slice(0, 2 * most + 2));
  return characters.length <= most ? text : `${characters.slice(0, most).join("").trimEnd()}…`;
}
