// An unmodified Yjs editor: y-websocket's own provider on a text, told what to do by lines of JSON.
//
//   node yjs_editor.mjs URL DOCUMENT
//
// Each line in is a list, the name of a command and its arguments; each is answered with one line out.
import { createRequire } from "node:module";
import readline from "node:readline";
import { pathToFileURL } from "node:url";

// Packages are in NODE_PATH, which `import` does not look at: resolved from there they are all one Yjs.
const require = createRequire(`${process.env.NODE_PATH}/`);
const load = (name) => import(pathToFileURL(require.resolve(name)));
const Y = (await load("yjs")).default ?? (await load("yjs"));
const { WebsocketProvider } = require("y-websocket");
const WebSocket = require("ws");

const [url, name] = process.argv.slice(2);
const doc = new Y.Doc();
const text = doc.getText("text");
const closes = [];
const provider = new WebsocketProvider(url, name, doc, { WebSocketPolyfill: WebSocket, disableBc: true });
provider.on("connection-close", (event) => event && closes.push([event.code, String(event.reason)]));

const until = (done) =>
  new Promise((resolve) => {
    const timer = setInterval(() => {
      if (!done()) return;
      clearInterval(timer);
      resolve(null);
    }, 5);
  });

const commands = {
  insert: (at, what) => text.insert(Math.min(at, text.length), what),
  append: (what) => text.insert(text.length, what),
  type: (what) => { for (const unit of what.split("")) text.insert(text.length, unit); },
  remove: (at, count) => text.delete(at, count),
  set: (key, value) => doc.getMap("map").set(key, value),
  map: () => doc.getMap("map").toJSON(),
  text: () => text.toString(),
  length: () => text.length,
  client: () => doc.clientID,
  "wait-synced": () => until(() => provider.synced),
  "wait-length": (length) => until(() => text.length >= length),
  "wait-text": (part) => until(() => text.toString().includes(part)),
  "wait-others": (count) => until(() => provider.awareness.getStates().size === count + 1),
  "wait-closed": (code) => until(() => closes.some(([seen]) => seen === code)),
  "wait-unsynced": () => until(() => !provider.synced),
  show: (state) => provider.awareness.setLocalState(state),
  others: () =>
    [...provider.awareness.getStates()].filter(([id]) => id !== doc.clientID).map(([, state]) => state),
  closes: () => closes,
  connects: () => provider.shouldConnect,
  cut: () => provider.ws.terminate(),
  disconnect: () => provider.disconnect(),
  connect: () => provider.connect(),
  state: () => Buffer.from(Y.encodeStateVector(doc)).toString("hex"),
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [command, ...given] = JSON.parse(line);
  const answer = await commands[command](...given);
  process.stdout.write(`${JSON.stringify(answer ?? null)}\n`);
}
process.exit(0);
