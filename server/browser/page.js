// The page at `/`: topics, rooms and datasets side by side, one part in view. The address's hash names what is in
// view, so that a reload keeps it: `#clock` a topic, `#room=lobby` a room, `#dataset=cities` a dataset. A part goes
// on when another is looked at. Notifications are shown over all of them.

import { armCopyButtons } from "./commands.js";
import { DatasetView } from "./dataset-view.js";
import { byId } from "./dom.js";
import { showNotifications } from "./notifications.js";
import { NotifyPanel } from "./notify-panel.js";
import { RoomView } from "./room-view.js";
import { TopicView } from "./topic-view.js";

const FIRST_TOPIC = "clock";
const ROOM = "room=";
const DATASET = "dataset=";
const BASE = new URL("..", import.meta.url).href;

const topics = new TopicView(BASE);
const rooms = new RoomView(BASE);
const datasets = new DatasetView(BASE);

armCopyButtons();
new NotifyPanel(BASE);
showNotifications({ base: BASE, more: "#notifications" });
addEventListener("hashchange", showAddress);
showAddress();

function showAddress() {
  const name = nameOfAddress();
  const inView = name.startsWith(ROOM) ? rooms : name.startsWith(DATASET) ? datasets : topics;
  if (inView === rooms) rooms.show(name.slice(ROOM.length));
  else if (inView === datasets) datasets.show(name.slice(DATASET.length));
  else topics.show(name || FIRST_TOPIC);
  mark("topics", topics, inView === topics);
  mark("rooms", rooms, inView === rooms);
  mark("datasets", datasets, inView === datasets);
}

function nameOfAddress() {
  const hash = location.hash.slice(1);
  try {
    return decodeURIComponent(hash);
  } catch {
    return hash;
  }
}

/**
 * @param {string} part
 * @param {{hash: string, title: string}} view
 * @param {boolean} inView
 */
function mark(part, { hash, title }, inView) {
  byId(`${part}-part`).hidden = !inView;
  const link = /** @type {HTMLAnchorElement} */ (byId(`to-${part}`));
  if (inView) {
    link.setAttribute("aria-current", "page");
    link.href = hash;
    document.title = title === "" ? "Sluiceway" : `${title} · Sluiceway`;
  } else {
    link.removeAttribute("aria-current");
  }
}
