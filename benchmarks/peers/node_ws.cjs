// ws: a room as the "Server broadcast" example of its README writes it. Compression is off, its default.
// What a member sends goes to all as it came: nothing is parsed, numbered or kept.
// CommonJS, since a module would not look for packages in NODE_PATH.

const { WebSocket, WebSocketServer } = require("ws");

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, backlog: 2048 });

server.on("connection", (member) => {
  member.on("error", () => member.terminate());
  member.on("message", (data, isBinary) => {
    for (const other of server.clients) {
      if (other.readyState === WebSocket.OPEN) other.send(data, { binary: isBinary });
    }
  });
});

server.on("listening", () => console.log(`ws: listening on http://127.0.0.1:${server.address().port}`));
