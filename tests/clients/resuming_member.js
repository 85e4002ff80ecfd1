// A member of a room that comes back after each cut, by nothing but WebSocket as browsers and `ws` have it:
// with its session, behind the last thing it heard, and with what it said and has no ack of yet.
// In a page it defines `ResumingMember`; required by Node, it exports it.

class ResumingMember {
  constructor(Socket, url, { newRef, pause, onChange }) {
    Object.assign(this, { Socket, url, newRef, pause, onChange });
    this.session = null;
    this.cursor = null;
    this.toSay = [];
    this.unacknowledged = new Map();
    this.report = { member: null, heard: [], connections: 0, duplicates: 0, faults: [] };
    this.connect();
  }

  say(lines) {
    this.toSay.push(...lines);
    this.speak();
  }

  get isDone() {
    return this.toSay.length === 0 && this.unacknowledged.size === 0;
  }

  connect() {
    const query = new URLSearchParams();
    if (this.session !== null) query.set("session", this.session);
    if (this.cursor !== null) query.set("last_event_id", this.cursor);
    const socket = new this.Socket(`${this.url}&${query}`, "sluiceway.v1.json");
    this.isWelcome = false;
    this.socket = socket;
    socket.onmessage = ({ data }) => this.hear(JSON.parse(data));
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }) => {
      this.isWelcome = false;
      if (code !== 1006) this.report.faults.push(`closed with ${code} ${reason}`);
      setTimeout(() => this.connect(), this.pause());
    };
  }

  speak() {
    while (this.isWelcome && this.toSay.length > 0 && this.unacknowledged.size < ResumingMember.WINDOW) {
      const ref = this.newRef();
      const frame = JSON.stringify({ type: "message", data: this.toSay.shift(), ref });
      this.unacknowledged.set(ref, frame);
      this.socket.send(frame);
    }
  }

  hear(frame) {
    const { report } = this;
    switch (frame.type) {
      case "welcome":
        if (report.member !== null && frame.member !== report.member) report.faults.push("another member");
        report.member = frame.member;
        report.connections += 1;
        this.session = frame.session;
        this.cursor ??= frame.cursor;
        this.isWelcome = true;
        for (const unacknowledged of this.unacknowledged.values()) this.socket.send(unacknowledged);
        break;
      case "message":
        this.cursor = frame.id;
        report.heard.push([frame.id, frame.data]);
        break;
      case "ack":
        if (frame.duplicate) report.duplicates += 1;
        this.unacknowledged.delete(frame.ref);
        break;
      case "joined":
        if (report.connections > 1) report.faults.push("somebody seems to have come");
        break;
      default:
        report.faults.push(JSON.stringify(frame));
    }
    this.speak();
    this.onChange?.();
  }
}

// How many messages may be on their way without an ack.
ResumingMember.WINDOW = 4;

if (typeof module !== "undefined") module.exports = { ResumingMember };
