// What the server has, offered to be picked: the first dozen as links, all in the list of the input.

import { byId } from "./dom.js";

/** So many are offered as links. */
const LINKS = 12;

/** @typedef {{name: string, hash: string, title: string}} Known */

/**
 * @param {string} list The id of the `datalist`.
 * @param {string} links The id of the element for the links.
 * @param {Known[]} known
 * @param {string[]} inView The names that are marked.
 */
export function offer(list, links, known, inView) {
  byId(list).replaceChildren(...known.map(({ name }) => new Option("", name)));
  byId(links).replaceChildren(...known.slice(0, LINKS).map((entry) => linkTo(entry, inView.includes(entry.name))));
}

/**
 * The list under `path`, by name; empty where the server does not answer: the sign beside the title says that.
 *
 * @param {string} base
 * @param {"topics" | "rooms" | "datasets"} path
 * @param {string} [query] Which part of it; the first hundred otherwise.
 * @returns {Promise<Record<string, any>[]>}
 */
export async function askFor(base, path, query = "") {
  try {
    const answer = await fetch(new URL(path + query, base), { headers: { Accept: "application/json" } });
    return answer.ok ? (await answer.json())[path] : [];
  } catch {
    return [];
  }
}

/**
 * @param {number} count
 * @param {string} noun
 */
export function counted(count, noun) {
  return count === 1 ? `1 ${noun}` : `${count.toLocaleString()} ${noun}s`;
}

/**
 * @param {Known} known
 * @param {boolean} inView
 */
function linkTo({ name, hash, title }, inView) {
  const link = document.createElement("a");
  link.href = hash;
  link.textContent = name;
  link.title = title;
  if (inView) link.setAttribute("aria-current", "page");
  return link;
}
