// What has been asked and answered in this tab, kept in its own storage, so that a reload goes on where it was: also
// in the middle of an answer, and in the middle of asking.

const KEY = "sluiceway.chat";
const DRAFT_KEY = "sluiceway.chat.draft";

/**
 * @typedef {object} Question
 * @property {"user"} role
 * @property {string} content
 *
 * @typedef {object} Answer
 * @property {"assistant"} role
 * @property {string} content As far as it has come.
 * @property {string | null} id The generation's; null until the server has answered.
 * @property {string | null} key Under which it was asked for; null where somebody else asked.
 * @property {string} lastEventId Where `content` ends.
 * @property {"running" | "done" | "stopped" | "failed" | "abandoned"} state
 * @property {string | null} reason
 * @property {string | null} message What failed, in words for people.
 *
 * @typedef {Question | Answer} Turn
 */

export class Conversation {
  /** @type {Turn[]} */ turns = [];

  /** The one that this tab had; an empty one where it had none. */
  static restored() {
    const conversation = new Conversation();
    const turns = parsed(read(KEY));
    if (Array.isArray(turns) && turns.every(isTurn)) conversation.turns = turns;
    return conversation;
  }

  /** The last turn, where it is an answer. */
  get answer() {
    const last = this.turns.at(-1);
    return last?.role === "assistant" ? last : null;
  }

  /** What the last answer is an answer to, as the server wants it. */
  get messages() {
    const before = this.answer === null ? this.turns : this.turns.slice(0, -1);
    return before.filter(({ content }) => content !== "").map(({ role, content }) => ({ role, content }));
  }

  /**
   * @param {string} content
   * @param {string} key
   */
  ask(content, key) {
    this.turns.push({ role: "user", content }, begun(null, key));
    this.save();
  }

  /**
   * Ask the last question once more, in place of its answer.
   *
   * @param {string} key
   */
  askAgain(key) {
    this.turns.splice(-1, 1, begun(null, key));
    this.save();
  }

  /**
   * Take back the last question, whose answer never began.
   *
   * @returns {string} The question.
   */
  takeBack() {
    const [question] = this.turns.splice(-2);
    this.save();
    return question.content;
  }

  /**
   * Begin anew, with an answer that somebody else asked for.
   *
   * @param {string} id
   */
  watch(id) {
    this.turns = [begun(id, null)];
    this.save();
  }

  clear() {
    this.turns = [];
    this.save();
  }

  save() {
    write(KEY, JSON.stringify(this.turns));
  }
}

export function rememberedDraft() {
  return read(DRAFT_KEY) ?? "";
}

/** @param {string} draft */
export function rememberDraft(draft) {
  write(DRAFT_KEY, draft);
}

/**
 * @param {string | null} id
 * @param {string | null} key
 * @returns {Answer}
 */
function begun(id, key) {
  return { role: "assistant", content: "", id, key, lastEventId: "", state: "running", reason: null, message: null };
}

/** @param {any} turn */
function isTurn(turn) {
  return typeof turn?.content === "string" && ["user", "assistant"].includes(turn.role);
}

/** @param {string | null} text */
function parsed(text) {
  try {
    return JSON.parse(text ?? "");
  } catch {
    return null;
  }
}

/** @param {string} key */
function read(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

/**
 * @param {string} key
 * @param {string} text
 */
function write(key, text) {
  try {
    sessionStorage.setItem(key, text);
  } catch {
    // Without storage, or where it is full, a reload knows no more than the address says.
  }
}
