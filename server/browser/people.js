// Who is in the room: the list beside what they say.

import { byId, element } from "./dom.js";

/** So much of a member's public name is shown: enough to tell two Adas apart. */
const SHORT = 4;

/** @param {string} member */
export function shortId(member) {
  return member.slice(0, SHORT);
}

/**
 * @param {{members: import("./rooms.js").Member[], memberCount: number, member: string} | null} room Null: in none.
 */
export function showPeople(room) {
  const { members, memberCount, member: own } = room ?? { members: [], memberCount: 0, member: "" };
  byId("people-count").textContent = memberCount === 0 ? "" : memberCount.toLocaleString();
  byId("people").replaceChildren(...members.map((member) => person(member, member.member === own)));
  const more = memberCount - members.length;
  const alone = memberCount === 1 ? "Nobody else yet. Open this page in another tab to meet somebody." : "";
  byId("people-more").textContent = more > 0 ? `and ${more.toLocaleString()} more` : alone;
  if (memberCount === 0) byId("people-more").textContent = "You will see who is here once you have joined.";
}

/**
 * @param {import("./rooms.js").Member} member
 * @param {boolean} own
 */
function person({ member, name }, own) {
  const item = element("li", own ? "person own" : "person");
  const id = element("span", "id", shortId(member));
  id.title = member;
  item.append(element("span", "name", name));
  if (own) item.append(element("span", "tag", "you"));
  item.append(id);
  return item;
}
