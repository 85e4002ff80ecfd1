// Server-Sent Events out of text, as the HTML standard parses them (section 9.2.6, "Interpreting an event stream"):
// for those who read an answer with fetch, where EventSource could not have asked. Text in, blocks out; wherever the
// text is cut, the blocks are the same.

/**
 * @typedef {object} Block
 * @property {string} event The event name; `message` where none is given.
 * @property {string | null} data Null in a block without data, which EventSource would not tell of: its id counts
 *   all the same.
 * @property {string | null} id The id that the block gives; null where it gives none.
 * @property {number | null} retryMs
 */

const LINE_END = /\r\n|\r|\n/;

export class EventStreamParser {
  /** The last line, as far as it has come. */
  #rest = "";
  /** A line feed now would belong to the carriage return that the text before ended with. */
  #afterReturn = false;
  #block = emptyBlock();

  /**
   * @param {string} text What came next. A byte order mark has gone already: `TextDecoder` takes it away.
   * @returns {Block[]} What is whole now. What stands behind the last blank line waits, or is dropped at the end.
   */
  push(text) {
    if (text === "") return [];
    const fresh = this.#afterReturn && text.startsWith("\n") ? text.slice(1) : text;
    this.#afterReturn = text.endsWith("\r");
    const lines = fresh.split(LINE_END);
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop() ?? "";
    /** @type {Block[]} */
    const whole = [];
    for (const line of lines) {
      if (line === "") this.#finish(whole);
      else this.#take(line);
    }
    return whole;
  }

  /** @param {string} line */
  #take(line) {
    const colon = line.indexOf(":");
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    const block = this.#block;
    if (name === "data") block.data = block.data === null ? value : `${block.data}\n${value}`;
    else if (name === "event") block.event = value;
    else if (name === "id" && !value.includes("\0")) block.id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) block.retryMs = Number(value);
    else return;
    block.isEmpty = false;
  }

  /** @param {Block[]} whole */
  #finish(whole) {
    const { isEmpty, event, ...block } = this.#block;
    this.#block = emptyBlock();
    if (!isEmpty) whole.push({ event: event || "message", ...block });
  }
}

/** @returns {Block & {isEmpty: boolean}} */
function emptyBlock() {
  return { isEmpty: true, event: "", data: null, id: null, retryMs: null };
}
