// `ResumingMember` on `ws`, told in lines of JSON: `node resuming_member.cjs URL`, with the folder of `ws` in
// NODE_PATH. `{"say": [lines], "hear": n}` is answered with the report once all is acknowledged and n heard.

const { randomUUID } = require("node:crypto");
const readline = require("node:readline");
const WebSocket = require("ws");
const { ResumingMember } = require("./resuming_member.js");

let hear = null;
const member = new ResumingMember(WebSocket, process.argv[2], {
  newRef: randomUUID,
  pause: () => Math.random() * 100,
  onChange: answer,
});

function answer() {
  if (hear === null || !member.isDone || member.report.heard.length < hear || member.report.member === null) return;
  hear = null;
  console.log(JSON.stringify(member.report));
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const order = JSON.parse(line);
  hear = order.hear;
  member.say(order.say);
  answer();
}).on("close", () => process.exit());
