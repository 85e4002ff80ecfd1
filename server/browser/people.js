// Who is in the room: the list beside what they say.

import { byId, element } from "./dom.js";

/** So much of a member's public name is shown: enough to tell two Adas apart. */
const SHORT = 4;

/** @param {string} member */
export function shortId(member) {
  return member.slice(0, SHORT);
}

/** @typedef {import("./rooms.js").Member} Member */

/**
 * @param {{members: Member[], memberCount: number, member: string, state: string} | null} room Null: in none.
 */
export function showPeople(room) {
  const { members, memberCount, member: own } = room ?? { members: [], memberCount: 0, member: "" };
  byId("people-count").textContent = memberCount === 0 ? "" : memberCount.toLocaleString();
  byId("people").replaceChildren(...members.map((member) => person(member, member.member === own)));
  byId("people-more").textContent = remark(room);
}

/** @param {{members: Member[], memberCount: number, state: string} | null} room */
function remark(room) {
  if (room === null || room.memberCount === 0) return "You will see who is here once you have joined.";
  if (room.state === "reconnecting") return "As it was before the connection broke.";
  const more = room.memberCount - room.members.length;
  if (more > 0) return `and ${more.toLocaleString()} more`;
  return room.memberCount === 1 ? "Nobody else yet. Open this page in another tab to meet somebody." : "";
}

/**
 * @param {Member} member
 * @param {boolean} own
 */
function person({ member, name, state }, own) {
  const item = element("li", own ? "person own" : "person");
  const id = element("span", "id", shortId(member));
  id.title = member;
  item.append(element("span", "name", name));
  if (own) item.append(element("span", "tag", "you"));
  item.append(id);
  if (Object.keys(state).length > 0) item.append(element("span", "member-state", JSON.stringify(state)));
  return item;
}
