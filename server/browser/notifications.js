// Notifications: what is published to a topic is shown as toasts. The connection is there while somebody sees the
// page: a browser has six to a host, for all its tabs together, and a tab in the background needs none for this. It
// comes back with the page, and then shows what came meanwhile. The manual is docs/how-to/notifications.md.
//
//     import { showNotifications } from "/client/notifications.js";
//     const notifications = showNotifications();
//     notifications.close();

import { gapNotice } from "./notices.js";
import { subscribe } from "./sluiceway.js";
import { Toasts } from "./toasts.js";

/** Where the server is: this module comes from `<base>client/notifications.js`. */
const HOME = new URL("..", import.meta.url).href;
const LEVELS = ["info", "success", "warning", "error"];

/**
 * @typedef {object} NotificationOptions
 * @property {string | Iterable<string>} [topics] A topic, or several. Default: `notifications`.
 * @property {Iterable<string>} [events] Event names to listen for beside `message`.
 * @property {string} [base] Where the server is; default: where this module came from.
 */

/**
 * Show what is published as toasts, from now on and until `close()` is called.
 *
 * @param {NotificationOptions & import("./toasts.js").ToastOptions} [options]
 */
export function showNotifications(options = {}) {
  return new Notifications(options);
}

/** Made by `showNotifications`. */
class Notifications {
  /** @type {ReturnType<typeof subscribe> | null} */ #subscription = null;
  #lastEventId = "";
  #options;
  #toasts;

  /** @param {NotificationOptions & import("./toasts.js").ToastOptions} options */
  constructor(options) {
    this.#options = options;
    this.#toasts = new Toasts(options);
    document.addEventListener("visibilitychange", this.#onVisibility);
    this.#onVisibility();
  }

  /** Stop, and take the toasts off the page. */
  close() {
    document.removeEventListener("visibilitychange", this.#onVisibility);
    this.#subscription?.close();
    this.#toasts.remove();
  }

  #onVisibility = () => {
    const open = this.#subscription !== null && this.#subscription.state !== "closed";
    if (!document.hidden && !open) this.#open();
    // As long as it has not learnt where it stands, it could not come back without loss.
    if (document.hidden && open && this.#subscription?.lastEventId) this.#leave();
  };

  #open() {
    const { topics = "notifications", events = [], base = HOME } = this.#options;
    this.#subscription = subscribe(topics, {
      base,
      events,
      lastEventId: this.#lastEventId,
      onMessage: ({ data }) => this.#toasts.show(notificationOf(data)),
      onGap: (gap) => this.#showGap(gap),
    });
  }

  #leave() {
    this.#lastEventId = this.#subscription?.lastEventId ?? "";
    this.#subscription?.close();
    this.#subscription = null;
  }

  /** @param {import("./sluiceway.js").Gap} gap */
  #showGap({ reason, missed }) {
    if (missed === 0) return;
    const { title, text } = gapNotice(reason, missed);
    this.#toasts.show({ level: "warning", title, body: text });
  }
}

/**
 * What a message says: a string is the text, an object has `title`, `body` and `level`; anything else is shown as it
 * came.
 *
 * @param {string} data JSON text, or plain text.
 * @returns {import("./toasts.js").Notification}
 */
export function notificationOf(data) {
  let value;
  try {
    value = JSON.parse(data);
  } catch {
    return { body: data };
  }
  if (typeof value === "string") return { body: value };
  if (typeof value !== "object" || value === null) return { body: data };
  const [title, body] = [value.title, value.body].map((text) => (typeof text === "string" ? text : ""));
  const level = LEVELS.includes(value.level) ? value.level : "info";
  return title || body ? { title, body, level } : { body: data, level };
}
