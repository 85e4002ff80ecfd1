// The three things that every part of the page does with its document. Text goes in as text, never as markup.

/** @param {string} id */
export function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/**
 * @param {string} tag
 * @param {string} className
 * @param {string} [text]
 */
export function element(tag, className, text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

/** @param {Date} received */
export function clock(received) {
  const shown = received.toLocaleTimeString(undefined, { hourCycle: "h23", timeStyle: "medium" });
  const stamp = /** @type {HTMLTimeElement} */ (element("time", "", shown));
  stamp.dateTime = received.toISOString();
  stamp.title = `Received ${received.toISOString()}`;
  return stamp;
}
