// The page at `/`: one topic in view, named by the address's hash so that a reload keeps it. This file joins the
// picker, the subscription and the panels; what a panel does is in its own module, and how a topic is followed in
// sluiceway.js.

import { armCopyButtons, eventsCommand, publishCommand } from "./commands.js";
import { MessageList } from "./messages.js";
import { PublishForm } from "./publishing.js";
import { isTopicName, RESERVED_EVENTS, subscribe } from "./sluiceway.js";

const FIRST_TOPIC = "clock";
/** The server's own topics, and under which event names they speak. */
const BUILT_IN = new Map([["clock", ["time"]], ["stats", ["stats"]]]);
/** So many messages of the past are shown at first. */
const REWIND = 50;
/** So many topics are offered as buttons; the input's list has the rest. */
const BUTTONS = 12;
const NAME_RULE =
  "A name has 1–128 characters of A–Z, a–z, 0–9 and . _ : - and does not begin with a dot.";

const BASE = new URL("..", import.meta.url).href;

let topic = "";
/** @type {ReturnType<typeof subscribe> | undefined} */
let subscription;
/** @type {ReturnType<typeof setInterval> | undefined} */
let countdown;

const picker = byId("picker");
const topicInput = /** @type {HTMLInputElement} */ (byId("topic"));
const namesInput = /** @type {HTMLInputElement} */ (byId("names"));
const list = new MessageList(byId("messages"), byId("empty"), showCounts);
const form = new PublishForm({ onDraft: showCommands, onSend: listenForOwn });

armCopyButtons();
byId("pause").addEventListener("click", () => list.togglePause());
byId("clear").addEventListener("click", () => list.clear());
addEventListener("hashchange", showTopicOfAddress);
picker.addEventListener("submit", (event) => {
  event.preventDefault();
  pick(topicInput.value.trim());
});
topicInput.addEventListener("input", (event) => {
  sayTopicError("");
  // Chosen from the list, not typed.
  if (/** @type {InputEvent} */ (event).inputType === "insertReplacementText") pick(topicInput.value);
});
topicInput.addEventListener("focus", offerTopics);
namesInput.addEventListener("change", () => follow());

showTopicOfAddress();

/** @param {string} name */
function pick(name) {
  if (!isTopicName(name)) return sayTopicError(NAME_RULE);
  const hash = `#${name}`;
  if (location.hash === hash) showTopicOfAddress();
  else location.hash = hash;
}

function showTopicOfAddress() {
  const name = topicOfAddress();
  topicInput.value = name;
  const valid = isTopicName(name);
  sayTopicError(valid ? "" : NAME_RULE);
  topic = valid ? name : "";
  namesInput.value = (BUILT_IN.get(topic) ?? []).join(", ");
  document.title = topic === "" ? "Sluiceway" : `${topic} · Sluiceway`;
  byId("shown").textContent = topic || "no topic";
  byId("empty").textContent = topic === "" ? "Pick a topic to see its messages." : emptyText();
  form.showTopic(topic);
  showCommands();
  follow();
  offerTopics();
}

function topicOfAddress() {
  const hash = location.hash.slice(1);
  if (hash === "") return FIRST_TOPIC;
  try {
    return decodeURIComponent(hash);
  } catch {
    return hash;
  }
}

function emptyText() {
  return BUILT_IN.has(topic) ? "No message yet. The first one is on its way." : "No message yet. Publish one below.";
}

/** Subscribe anew to the topic in view. */
function follow() {
  subscription?.close();
  list.clear();
  showState("closed", { reason: null });
  if (topic === "") return;
  showState("connecting", {});
  const mine = subscribe(topic, {
    base: BASE,
    since: REWIND,
    events: namesOfInput(),
    onMessage: (message) => list.addMessage(message),
    onGap: (gap) => list.addGap(gap),
    onClosing: (closing) => list.addClosing(closing),
    onState: (state, detail) => mine === subscription && showState(state, detail),
  });
  subscription = mine;
}

/** @param {import("./publishing.js").Draft} draft */
function listenForOwn({ event }) {
  if (event === "" || RESERVED_EVENTS.has(event)) return;
  subscription?.listen(event);
  const names = namesOfInput();
  if (!names.includes(event)) namesInput.value = [...names, event].join(", ");
}

function namesOfInput() {
  return namesInput.value.split(",").map((name) => name.trim()).filter(Boolean);
}

/**
 * The word is announced, the countdown beside it is not: a number a second would be noise.
 *
 * @param {import("./sluiceway.js").State} state
 * @param {Partial<import("./sluiceway.js").StateDetail>} detail
 */
function showState(state, { retryMs = null, reason = null, problem = null }) {
  const words = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", closed: "Closed" };
  const shown = byId("state");
  shown.dataset.state = state;
  if (shown.textContent !== words[state]) shown.textContent = words[state];
  clearInterval(countdown);
  showSeconds(retryMs);
  const why = byId("closed-why");
  const cause = problem ? `${problem.title}. ${problem.detail}` : `The server ended the stream: ${reason}.`;
  why.textContent = `${cause} “Show” tries again.`;
  why.hidden = state !== "closed" || reason === null || reason === "client";
}

/** @param {number | null} retryMs */
function showSeconds(retryMs) {
  const more = byId("state-more");
  more.textContent = "";
  if (retryMs === null) return;
  const due = Date.now() + retryMs;
  const tick = () => {
    const seconds = Math.ceil((due - Date.now()) / 1000);
    more.textContent = seconds > 0 ? ` in ${seconds} s` : " now";
  };
  tick();
  countdown = setInterval(tick, 1_000);
}

/** @param {{received: number, waiting: number, paused: boolean}} counts */
function showCounts({ received, waiting, paused }) {
  byId("pause").textContent = !paused ? "Pause" : waiting === 0 ? "Resume" : `Resume (${waiting})`;
  const count = received === 1 ? "1 message received" : `${received.toLocaleString()} messages received`;
  byId("tally").textContent = paused ? `${count}. The list is paused, the stream is not.` : `${count}.`;
}

function showCommands() {
  byId("commands").hidden = topic === "";
  // Also before there is a topic: the form reports its first draft while it is being made.
  if (topic === "") return;
  byId("curl-events").textContent = eventsCommand(BASE, topic);
  byId("curl-publish").textContent = publishCommand(BASE, topic, form.draft);
  byId("command-publish").hidden = BUILT_IN.has(topic);
}

/** Fill the picker with what the server has; without an answer, with the two every server has. */
async function offerTopics() {
  /** @type {Map<string, number>} */
  const subscribers = new Map();
  try {
    const answer = await fetch(new URL("topics", BASE), { headers: { Accept: "application/json" } });
    const { topics } = answer.ok ? await answer.json() : { topics: [] };
    for (const entry of topics) subscribers.set(entry.topic, entry.subscribers);
  } catch {
    // The state beside the list already says that the server is away.
  }
  const inView = topic === "" ? [] : [topic];
  const all = [...new Set([...BUILT_IN.keys(), ...inView, ...subscribers.keys()])];
  byId("topics").replaceChildren(...all.map((name) => new Option("", name)));
  byId("known").replaceChildren(...all.slice(0, BUTTONS).map((name) => topicLink(name, subscribers.get(name) ?? 0)));
}

/**
 * @param {string} name
 * @param {number} subscribers
 */
function topicLink(name, subscribers) {
  const link = document.createElement("a");
  link.href = `#${name}`;
  link.textContent = name;
  link.title = subscribers === 1 ? "1 subscriber" : `${subscribers.toLocaleString()} subscribers`;
  if (name === topic) link.setAttribute("aria-current", "page");
  return link;
}

/** @param {string} text */
function sayTopicError(text) {
  byId("topic-error").textContent = text;
  topicInput.setAttribute("aria-invalid", String(text !== ""));
}

/** @param {string} id */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}
