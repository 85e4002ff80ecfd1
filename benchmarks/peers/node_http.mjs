// Node's own http: an open response a subscriber, `write` for each message, as its documentation and every SSE
// tutorial have it. Nagle's algorithm is off by default.

import { createServer } from "node:http";

const streams = new Set();
let offset = 0;

function publish(body) {
  for (const line of body.split("\n")) {
    if (!line) continue;
    offset += 1;
    // A Buffer, made once: a string would be encoded again for each stream.
    const event = Buffer.from(`id: ${offset}\ndata: ${JSON.stringify(JSON.parse(line).data)}\n\n`);
    for (const stream of streams) stream.write(event);
  }
}

function answer(response, status, value) {
  const body = JSON.stringify(value);
  response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
  response.end(body);
}

const server = createServer((request, response) => {
  if (request.method === "POST") {
    request.setEncoding("utf8");
    let body = "";
    request.on("data", (part) => (body += part));
    request.on("end", () => {
      publish(body);
      answer(response, 201, { topic: "bench", id: String(offset), subscribers: streams.size });
    });
  } else if (request.url === "/topics/bench/events") {
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
    response.write("retry: 3000\n\n");
    streams.add(response);
    response.on("close", () => streams.delete(response));
  } else {
    answer(response, 200, { subscriptions: streams.size });
  }
});

server.listen({ host: "127.0.0.1", port: 0, backlog: 2048 }, () =>
  console.log(`node: listening on http://127.0.0.1:${server.address().port}`),
);
