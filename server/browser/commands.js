// The same from a shell: `curl` commands for the topic, room or answer in view, ready to be copied, with the message of
// the form in the one that publishes.

const COPIED_FOR = 1_500;

/**
 * @param {string} base
 * @param {string[]} topics Topics and patterns.
 */
export function eventsCommand(base, topics) {
  const [first] = topics;
  const one = topics.length === 1 && !first.endsWith("*");
  const path = one ? `topics/${first}/events` : `events?${topics.map((topic) => `topic=${topic}`).join("&")}`;
  return `curl -N ${quoted(new URL(path, base).href)}`;
}

/**
 * @param {string} base
 * @param {string} topic
 * @param {import("./publishing.js").Draft} draft
 */
export function publishCommand(base, topic, { as, data, event }) {
  const type = as === "text" ? "text/plain" : "application/json";
  const name = event === "" ? "" : `, "event": ${JSON.stringify(event)}`;
  const body = as === "text" ? data : `{"data": ${data.trim()}${name}}`;
  const url = new URL(`topics/${topic}`, base).href;
  // --data-raw: plain --data would read a file where the text begins with @.
  return `curl ${quoted(url)} \\\n  -H 'Content-Type: ${type}' \\\n  --data-raw ${quoted(body)}`;
}

/**
 * @param {string} base
 * @param {string} room
 */
export function sayCommand(base, room) {
  const body = JSON.stringify({ data: "It flows", label: "shell" });
  const url = new URL(`rooms/${room}`, base).href;
  return `curl ${quoted(url)} \\\n  -H 'Content-Type: application/json' \\\n  --data-raw ${quoted(body)}`;
}

/**
 * @param {string} base
 * @param {string} room
 */
export function membersCommand(base, room) {
  return `curl ${quoted(new URL(`rooms/${room}`, base).href)}`;
}

/**
 * @param {string} base
 * @param {string} dataset
 */
export function importCommand(base, dataset) {
  const url = new URL(`datasets/${dataset}`, base).href;
  return `curl -X POST ${quoted(url)} \\\n  -H 'Content-Type: text/csv' \\\n  -T rows.csv`;
}

/**
 * @param {string} base
 * @param {string} dataset
 */
export function rowsCommand(base, dataset) {
  return `curl -H 'Accept: text/csv' ${quoted(new URL(`datasets/${dataset}/rows`, base).href)}`;
}

/**
 * @param {string} base
 * @param {string} question
 */
export function askCommand(base, question) {
  const body = JSON.stringify({ messages: [{ role: "user", content: question }] });
  const url = new URL("generations?format=text", base).href;
  return `curl -N ${quoted(url)} \\\n  -H 'Content-Type: application/json' \\\n  --data-raw ${quoted(body)}`;
}

/**
 * @param {string} base
 * @param {string} id
 */
export function watchCommand(base, id) {
  return `curl -N ${quoted(new URL(`generations/${id}/events`, base).href)}`;
}

/**
 * @param {string} base
 * @param {string} id
 */
export function stopCommand(base, id) {
  return `curl -X POST ${quoted(new URL(`generations/${id}/stop`, base).href)}`;
}

/** Make every button with `data-copies` copy the text of the element it names. */
export function armCopyButtons() {
  for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("[data-copies]"))) {
    button.addEventListener("click", () => copy(button));
  }
}

/** @param {HTMLButtonElement} button */
async function copy(button) {
  const source = /** @type {HTMLElement} */ (document.getElementById(button.dataset.copies ?? ""));
  try {
    // Only there on secure origins; `localhost` counts as one.
    await navigator.clipboard.writeText(source.textContent ?? "");
    button.textContent = "Copied";
  } catch {
    getSelection()?.selectAllChildren(source);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), COPIED_FOR);
}

/** @param {string} text Any text as one word of a POSIX shell. */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
