// The page at `/`: topics and rooms side by side, one part in view. The address's hash names what is in view, so
// that a reload keeps it: `#clock` a topic, `#room=lobby` a room. A part goes on when the other is looked at.

import { armCopyButtons } from "./commands.js";
import { byId } from "./dom.js";
import { RoomView } from "./room-view.js";
import { TopicView } from "./topic-view.js";

const FIRST_TOPIC = "clock";
const ROOM = "room=";
const BASE = new URL("..", import.meta.url).href;

const topics = new TopicView(BASE);
const rooms = new RoomView(BASE);

armCopyButtons();
addEventListener("hashchange", showAddress);
showAddress();

function showAddress() {
  const name = nameOfAddress();
  const aboutRooms = name.startsWith(ROOM);
  if (aboutRooms) rooms.show(name.slice(ROOM.length));
  else topics.show(name || FIRST_TOPIC);
  mark("topics", topics, !aboutRooms);
  mark("rooms", rooms, aboutRooms);
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
