// JSON text laid out for reading. It works on the text and not on the parsed value, so that what is shown is what
// came: 1.0 stays 1.0 and twenty digits stay twenty digits. What is not an object or an array is left alone.

/** Longer data is cut for display: two hundred rows of a mebibyte each would be no help to anybody. */
const CHARACTERS = 20_000;
const INDENT = "  ";
/** Up to so many characters an object stays on one line. */
const ONE_LINE = 72;
/** Strings whole, then marks, then whatever stands between them. */
const TOKENS = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

/**
 * @param {string} text
 * @returns {string} `text` itself where it is not a JSON object or array.
 */
function pretty(text) {
  if (!/^\s*[[{]/.test(text) || !isJson(text)) return text;
  const tokens = text.match(TOKENS) ?? [];
  const line = onOneLine(tokens);
  return line.length <= ONE_LINE ? line : onManyLines(tokens);
}

/** @param {string} text Any text: laid out, or cut where it is too long to be read. */
export function shortened(text) {
  if (text.length <= CHARACTERS) return pretty(text);
  return `${text.slice(0, CHARACTERS)}…\n(cut here: ${text.length.toLocaleString()} characters in all)`;
}

/** @param {string} text */
function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** @param {string[]} tokens */
function onOneLine(tokens) {
  return tokens.map((token) => (token === ":" || token === "," ? `${token} ` : token)).join("");
}

/** @param {string[]} tokens */
function onManyLines(tokens) {
  const parts = [];
  let depth = 0;
  for (const [index, token] of tokens.entries()) {
    const opens = token === "{" || token === "[";
    const closes = token === "}" || token === "]";
    const empty = closes && /^[{[]$/.test(tokens[index - 1]);
    if (closes) depth -= 1;
    if (closes && !empty) parts.push(newLine(depth));
    parts.push(token);
    if (opens) depth += 1;
    if ((opens && !/^[}\]]$/.test(tokens[index + 1])) || token === ",") parts.push(newLine(depth));
    if (token === ":") parts.push(" ");
  }
  return parts.join("");
}

/** @param {number} depth */
function newLine(depth) {
  return `\n${INDENT.repeat(depth)}`;
}
