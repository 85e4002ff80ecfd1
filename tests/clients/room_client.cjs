// A member of a room on `ws`: each line on stdin is said in the room, each frame that comes is a line on stdout.
// `node room_client.cjs URL`, with the folder of `ws` in NODE_PATH.

const readline = require("node:readline");
const WebSocket = require("ws");

const socket = new WebSocket(process.argv[2], "sluiceway.v1.json");
socket.on("open", () => {
  const lines = readline.createInterface({ input: process.stdin });
  lines.on("line", (text) => socket.send(JSON.stringify({ type: "message", data: text })));
  lines.on("close", () => socket.close(1000));
});
socket.on("message", (data) => console.log(data.toString()));
socket.on("error", (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
