// The page at `/chat`: ask, watch the answer come, stop it. The address's hash names the answer in view, so that a
// second tab watches the same one; what was asked before it is this tab's own. This file joins the form, the
// conversation and the answer that runs; how an answer is watched is in generations.js.

import { armCopyButtons, askCommand, stopCommand, watchCommand } from "./commands.js";
import { Conversation, rememberDraft, rememberedDraft } from "./conversation.js";
import { byId } from "./dom.js";
import { joinGeneration, newKey, ProblemError, startGeneration } from "./generations.js";
import { showNotifications } from "./notifications.js";
import { StateSign } from "./state.js";
import { Turns } from "./turns.js";

const HASH = "#generation=";
const BASE = new URL("..", import.meta.url).href;
const QUESTION = "It flows, word by word.";

const GOING = { connecting: "Asking", live: "Answering", reconnecting: "Reconnecting" };
const ENDED = { done: "Answered", stopped: "Stopped", abandoned: "Ended", failed: "Failed" };

class Chat {
  #conversation = Conversation.restored();
  /** @type {ReturnType<typeof startGeneration> | null} */ #running = null;
  #turns = new Turns();
  #sign = new StateSign("chat-state");
  #text = /** @type {HTMLTextAreaElement} */ (byId("ask-text"));
  #send = /** @type {HTMLButtonElement} */ (byId("ask-send"));
  #stop = /** @type {HTMLButtonElement} */ (byId("ask-stop"));

  constructor() {
    this.#text.value = rememberedDraft();
    this.#text.addEventListener("input", () => {
      rememberDraft(this.#text.value);
      say("");
      this.#showForm();
    });
    this.#text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#ask();
    });
    byId("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#ask();
    });
    this.#stop.addEventListener("click", () => this.#stopAnswer());
    byId("ask-again").addEventListener("click", () => this.#askAgain());
    byId("new-chat").addEventListener("click", () => this.#begin());
    addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.isComposing) this.#stopAnswer();
    });
    addEventListener("hashchange", () => this.#showAddress());
    // A reload goes on from what is kept here.
    addEventListener("pagehide", () => this.#keep());
    document.addEventListener("visibilitychange", () => this.#keep());
    this.#showAddress();
  }

  /** Go on with what this tab had, or watch what the address names. */
  #showAddress() {
    const id = idInAddress();
    if (this.#running !== null && this.#running.id === id) return;
    this.#leave();
    const known = this.#conversation.turns.some((turn) => turn.role === "assistant" && turn.id === id);
    if (id !== null && !known) this.#conversation.watch(id);
    this.#turns.show(this.#conversation.turns);
    this.#sign.show("idle", "Ready");
    if (this.#conversation.answer?.state === "running") this.#follow();
    this.#show();
  }

  #ask() {
    const question = this.#text.value;
    if (this.#running !== null || question.trim() === "") return;
    say("");
    this.#conversation.ask(question, newKey());
    for (const turn of this.#conversation.turns.slice(-2)) this.#turns.add(turn);
    this.#setDraft("");
    this.#follow();
    this.#text.focus();
  }

  #askAgain() {
    say("");
    this.#conversation.askAgain(newKey());
    this.#turns.show(this.#conversation.turns);
    this.#follow();
    this.#text.focus();
  }

  /** Watch the last answer: ask for it, or for it again under the same key, or go on with it. */
  #follow() {
    const { answer, messages } = this.#conversation;
    if (answer === null) return;
    /** @type {import("./generations.js").WatchOptions} */
    const watching = {
      base: BASE,
      text: answer.content,
      lastEventId: answer.lastEventId,
      onText: (piece) => this.#turns.append(piece),
      onRestart: () => this.#turns.restart(),
      onState: (state, detail, running) => running === this.#running && this.#showState(state, detail),
    };
    const idempotencyKey = answer.key ?? undefined;
    this.#running =
      answer.id === null
        ? startGeneration(messages, { ...watching, idempotencyKey })
        : joinGeneration(answer.id, watching);
    this.#sign.show("connecting", GOING.connecting);
    this.#show();
  }

  /**
   * @param {import("./generations.js").State} state
   * @param {import("./generations.js").StateDetail} detail
   */
  #showState(state, { retryMs, reason, message, problem }) {
    const { answer } = this.#conversation;
    const running = this.#running;
    if (answer === null || running === null) return;
    if (!running.isOver) {
      this.#sign.show(/** @type {import("./state.js").Shown} */ (state), lookUp(GOING, state), retryMs);
      this.#keep();
      return this.#show();
    }
    this.#keep();
    this.#running = null;
    if (running.id === null) return this.#giveBack(problem);
    this.#sign.show(state === "failed" ? "closed" : "idle", lookUp(ENDED, state));
    answer.state = /** @type {typeof answer.state} */ (state);
    answer.reason = reason;
    answer.message = message;
    this.#conversation.save();
    this.#turns.showState(answer);
    this.#show();
  }

  /**
   * The question never got through: nothing that was typed is lost, and nothing typed since is overwritten.
   *
   * @param {ProblemError | null} problem
   */
  #giveBack(problem) {
    const question = this.#conversation.takeBack();
    this.#turns.show(this.#conversation.turns);
    if (this.#text.value === "") this.#setDraft(question);
    this.#sign.show(problem === null ? "idle" : "closed", problem === null ? ENDED.stopped : "Refused");
    if (problem !== null) say(wordsOf(problem));
    this.#show();
  }

  async #stopAnswer() {
    const running = this.#running;
    if (running === null || this.#stop.ariaDisabled === "true") return;
    // Not `disabled`: that would take the focus away from who has just pressed it.
    this.#stop.ariaDisabled = "true";
    this.#stop.textContent = "Stopping…";
    say("");
    try {
      await running.stop();
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      if (running === this.#running) say(`It could not be stopped: ${wordsOf(error)}`);
    } finally {
      this.#stop.ariaDisabled = null;
      this.#stop.textContent = "Stop";
    }
  }

  /** A new chat. An answer that still runs is left to whoever else watches it. */
  #begin() {
    this.#leave();
    this.#conversation.clear();
    this.#turns.show([]);
    this.#sign.show("idle", "Ready");
    say("");
    this.#show();
    this.#text.focus();
  }

  #leave() {
    this.#keep();
    const running = this.#running;
    this.#running = null;
    running?.close();
  }

  /** Remember how far the answer has come. */
  #keep() {
    const { answer } = this.#conversation;
    if (answer === null || this.#running === null) return;
    answer.id = this.#running.id;
    answer.content = this.#running.text;
    answer.lastEventId = this.#running.lastEventId;
    this.#conversation.save();
  }

  /** @param {string} draft */
  #setDraft(draft) {
    this.#text.value = draft;
    rememberDraft(draft);
  }

  /** Everything that depends on what is in view, and on whether it runs. */
  #show() {
    const { answer, turns } = this.#conversation;
    const id = answer?.id ?? null;
    const address = id === null ? location.pathname + location.search : HASH + id;
    // In place: a step back leaves the chat, and a reload comes back to this answer.
    if (location.hash !== (id === null ? "" : HASH + id)) history.replaceState(null, "", address);
    /** @type {HTMLButtonElement} */ (byId("new-chat")).disabled = turns.length === 0;
    byId("ask-again").hidden = this.#running !== null || answer === null || answer.state === "done" || turns.length < 2;
    byId("curl-ask").textContent = askCommand(BASE, this.#conversation.messages.at(-1)?.content ?? QUESTION);
    byId("curl-watch").textContent = watchCommand(BASE, id ?? "");
    byId("curl-stop").textContent = stopCommand(BASE, id ?? "");
    byId("command-watch").hidden = id === null;
    byId("address-hint").hidden = id === null;
    byId("command-stop").hidden = id === null || this.#running === null;
    this.#showForm();
  }

  #showForm() {
    const running = this.#running !== null;
    const hadFocus = document.activeElement === this.#stop;
    this.#send.hidden = running;
    this.#send.disabled = this.#text.value.trim() === "";
    this.#stop.hidden = !running;
    byId("ask-hint-send").hidden = running;
    byId("ask-hint-stop").hidden = !running;
    if (hadFocus && !running) this.#text.focus();
  }
}

function idInAddress() {
  return location.hash.startsWith(HASH) ? location.hash.slice(HASH.length) || null : null;
}

/** @param {ProblemError} problem */
function wordsOf({ code, message, errors }) {
  const faults = errors.map(({ detail }) => `${detail[0]?.toUpperCase()}${detail.slice(1)}.`).join(" ");
  if (code === "prompt_too_large") return `${faults || message} A new chat begins with less.`;
  return faults || message;
}

/** @param {string} fault Empty: there is none. */
function say(fault) {
  byId("ask-error").textContent = fault;
  byId("ask-text").setAttribute("aria-invalid", String(fault !== ""));
}

/**
 * @param {Record<string, string>} table
 * @param {string} key
 */
function lookUp(table, key) {
  return table[key] ?? key;
}

armCopyButtons();
showNotifications({ base: BASE, more: "./#notifications" });
new Chat();
