// What a name may be: of a topic or a room, and of a member. The server's own rules, so that a bad name is said
// before it is sent; a browser hides from code why a WebSocket was refused.

const NAME = /^[A-Za-z0-9_:-][A-Za-z0-9._:-]{0,127}$/;
/**
 * Printable characters, counted as the server counts them: by code point. Among them are the joiners that some
 * scripts and emoji are written with, and the space of Chinese and Japanese; of joiners and spaces alone is no name.
 */
const MEMBER_NAME = /^(?=.*[^\p{C}\p{Z}])(?:[^\p{C}\p{Z}]|[ \u3000\u200c\u200d]){1,64}$/u;

export const SELECTOR_RULE =
  "Topics are separated by commas; an asterisk may stand at the end, for all names that begin so.";
export const NAME_RULE =
  "A name has 1–128 characters of A–Z, a–z, 0–9 and . _ : - and does not begin with a dot.";
export const MEMBER_NAME_RULE = "Your name has 1–64 printable characters, and not spaces alone.";

/**
 * Whether `name` can name a topic or a room: 1–128 of A-Z a-z 0-9 . _ : - and no dot in front.
 *
 * @param {string} name
 */
export function isName(name) {
  return NAME.test(name);
}

/**
 * Whether `text` can select topics: a name, or with an asterisk at its end the beginning of names.
 *
 * @param {string} text
 */
export function isSelector(text) {
  return text === "*" || isName(text.endsWith("*") ? text.slice(0, -1) : text);
}

/**
 * Whether a member can be called `name`: 1–64 printable characters, and not spaces alone.
 *
 * @param {string} name
 */
export function isMemberName(name) {
  return MEMBER_NAME.test(name);
}
