// The part about rooms: one room in view, and perhaps joined. This file joins the form, the stay in the room and the
// panels; what a panel does is in its own module, and how a room is joined in rooms.js.

import { ChatLog } from "./chat-log.js";
import { membersCommand, sayCommand } from "./commands.js";
import { byId } from "./dom.js";
import { askFor, counted, offer } from "./known.js";
import { isMemberName, isName, MEMBER_NAME_RULE, NAME_RULE } from "./names.js";
import { closingNotice, gapNotice } from "./notices.js";
import { showPeople } from "./people.js";
import { joinRoom, RoomError } from "./rooms.js";
import { StateSign } from "./state.js";
import { forgetStay, rememberedStay, rememberStay } from "./stay.js";

const FIRST_ROOM = "lobby";
const WORDS = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", closed: "Closed" };

export class RoomView {
  #name = FIRST_ROOM;
  /** @type {ReturnType<typeof joinRoom> | undefined} */ #room;
  #unacknowledged = 0;
  #base;
  #roomInput = /** @type {HTMLInputElement} */ (byId("room"));
  #nameInput = /** @type {HTMLInputElement} */ (byId("member-name"));
  #text = /** @type {HTMLTextAreaElement} */ (byId("say-text"));
  #sign = new StateSign("room-state");
  #log = new ChatLog(byId("said"), byId("chat-scroller"), byId("room-empty"));

  /** @param {string} base Where the server is. */
  constructor(base) {
    this.#base = base;
    this.#nameInput.value = rememberedStay()?.name ?? "";
    this.#roomInput.addEventListener("input", () => say("room", ""));
    this.#roomInput.addEventListener("focus", () => this.#offerRooms());
    this.#nameInput.addEventListener("input", () => say("member-name", ""));
    byId("leave").addEventListener("click", () => this.#leave());
    byId("join").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit(this.#roomInput.value.trim(), this.#nameInput.value.trim());
    });
    byId("say").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    this.#showStay();
  }

  /** The address's hash that leads to what is in view. */
  get hash() {
    return `#room=${this.#name}`;
  }

  get title() {
    return this.#name;
  }

  /**
   * Bring a room into view. Who was in another one moves over; who was in this one before a reload comes back.
   *
   * @param {string} room
   */
  show(room) {
    if (room !== this.#name || this.#room === undefined) this.#view(room);
    this.#offerRooms();
  }

  /** @param {string} room */
  #view(room) {
    const stay = rememberedStay();
    const returns = this.#room !== undefined || stay?.room === room;
    this.#close();
    this.#roomInput.value = room;
    this.#name = isName(room) ? room : "";
    say("room", this.#name === "" ? NAME_RULE : "");
    if (this.#name !== "" && stay !== null && returns) this.#enter(stay.name);
    else this.#showStay();
  }

  /**
   * @param {string} room
   * @param {string} name
   */
  #submit(room, name) {
    say("member-name", isMemberName(name) ? "" : MEMBER_NAME_RULE);
    say("room", isName(room) ? "" : NAME_RULE);
    const wrong = /** @type {HTMLElement | null} */ (byId("join").querySelector('[aria-invalid="true"]'));
    if (wrong !== null) return wrong.focus();
    this.#close();
    this.#name = room;
    this.#enter(name);
    location.hash = this.hash;
    this.#text.focus();
  }

  /** @param {string} name */
  #enter(name) {
    rememberStay({ room: this.#name, name });
    this.#log.clear();
    const mine = joinRoom(this.#name, {
      name,
      base: this.#base,
      onMessage: (message) => this.#showMessage(message),
      onJoined: (member) => this.#showMove("came", member),
      onLeft: (member) => this.#showMove("left", member),
      onPresence: () => showPeople(this.#room ?? null),
      onCount: () => showPeople(this.#room ?? null),
      onGap: ({ reason, missed }) => this.#log.addNotice(gapNotice(reason, missed)),
      onClosing: (closing) => this.#log.addNotice(closingNotice(closing)),
      onState: (state, detail) => mine === this.#room && this.#showState(state, detail),
      onError: ({ message }) => say("say", `The server could not use that: ${message}`),
    });
    this.#room = mine;
    this.#showStay();
    this.#sign.show("connecting", WORDS.connecting);
  }

  #leave() {
    this.#close();
    this.#showStay();
    this.#sign.show("idle", "Left");
    byId("join-button").focus();
  }

  #close() {
    const room = this.#room;
    this.#room = undefined;
    room?.close();
    if (room !== undefined) forgetStay();
  }

  /** @param {import("./rooms.js").RoomMessage} message */
  #showMessage(message) {
    const sender = this.#room?.members.find(({ member }) => member === message.from);
    this.#log.addMessage(message, sender?.name ?? "", message.from === this.#room?.member);
  }

  /**
   * @param {"came" | "left"} did
   * @param {import("./rooms.js").Member} member
   */
  #showMove(did, member) {
    this.#log.addMove(did, member);
    showPeople(this.#room ?? null);
  }

  /**
   * @param {import("./rooms.js").State} state
   * @param {import("./rooms.js").StateDetail} detail
   */
  #showState(state, { retryMs, code, reason }) {
    this.#sign.show(state, WORDS[state], retryMs);
    if (state === "closed") {
      this.#room = undefined;
      forgetStay();
      this.#showStay();
      this.#sign.show(state, WORDS[state]);
      byId("room-closed-why").textContent = `${causeOf(code, reason)} “Join” tries again.`;
      byId("room-closed-why").hidden = false;
    }
    showPeople(this.#room ?? null);
    this.#offerRooms();
  }

  /** Everything that depends on which room is in view, and on whether one is in it. */
  #showStay() {
    const joined = this.#room !== undefined;
    byId("room-shown").textContent = this.#name || "no room";
    byId("room-closed-why").hidden = true;
    byId("leave").hidden = !joined;
    /** @type {HTMLFieldSetElement} */ (byId("say-fields")).disabled = !joined;
    byId("room-empty").textContent = joined
      ? "Nobody has said anything since you came."
      : "You are not in this room. Say who you are, and join.";
    byId("room-commands").hidden = this.#name === "";
    if (this.#name !== "") {
      byId("curl-say").textContent = sayCommand(this.#base, this.#name);
      byId("curl-members").textContent = membersCommand(this.#base, this.#name);
    }
    if (!joined) this.#sign.show("idle", "Not joined");
    say("say", "");
    showPeople(this.#room ?? null);
    this.#showWaiting(0);
  }

  async #send() {
    const text = this.#text.value;
    const room = this.#room;
    if (room === undefined || text.trim() === "") return;
    say("say", "");
    this.#text.value = "";
    this.#showWaiting(this.#unacknowledged + 1);
    try {
      await room.send(text);
    } catch (error) {
      if (!(error instanceof RoomError)) throw error;
      if (room === this.#room) {
        say("say", error.message);
        // Nothing that was typed is lost, and nothing typed since is overwritten.
        this.#text.value ||= text;
      }
    } finally {
      if (room === this.#room) this.#showWaiting(this.#unacknowledged - 1);
    }
  }

  /** @param {number} count Of messages without an ack. */
  #showWaiting(count) {
    this.#unacknowledged = count;
    const away = count > 0 && this.#room?.state !== "live";
    byId("say-waiting").textContent = away ? `${counted(count, "message")} will be sent on the next connection.` : "";
  }

  /** Fill the form with the rooms that the server has. */
  async #offerRooms() {
    /** @type {Map<string, number>} */
    const members = new Map([[this.#name || FIRST_ROOM, 0]]);
    for (const entry of await askFor(this.#base, "rooms")) members.set(entry.room, entry.member_count);
    const known = [...members].map(([name, count]) => {
      return { name, hash: `#room=${name}`, title: counted(count, "member") };
    });
    offer("rooms", "known-rooms", known, [this.#name]);
  }
}

/**
 * @param {number | null} code
 * @param {string | null} reason
 */
function causeOf(code, reason) {
  if (code === 4401) return "Your credentials have expired.";
  if (code === 4403) return "You may not be in this room.";
  return `The server ended the connection for good: ${reason} (${code}).`;
}

/**
 * @param {"room" | "member-name" | "say"} field
 * @param {string} fault Empty: there is none.
 */
function say(field, fault) {
  byId(`${field}-error`).textContent = fault;
  byId(field === "say" ? "say-text" : field).setAttribute("aria-invalid", String(fault !== ""));
}
