// Reads an event stream with fetch, as code without EventSource does: `node read_events.mjs URL COUNT LAST_EVENT_ID`.
// Prints the first COUNT events with data as JSON, and leaves.

const [url, count, lastEventId] = process.argv.slice(2);
const abort = new AbortController();
const headers = { Accept: "text/event-stream", ...(lastEventId && { "Last-Event-ID": lastEventId }) };
const response = await fetch(url, { headers, signal: abort.signal });
if (response.status !== 200) throw new Error(`status ${response.status}`);

const events = [];
let id = "";
let rest = "";
for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
  const blocks = (rest + text).split("\n\n");
  rest = blocks.pop();
  for (const block of blocks) take(block);
  if (events.length >= Number(count)) break;
}
console.log(JSON.stringify(events.slice(0, Number(count))));
abort.abort();

function take(block) {
  let event = "message";
  const data = [];
  for (const line of block.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/u.exec(line);
    if (name === "data") data.push(value);
    if (name === "event") event = value;
    if (name === "id") id = value;
  }
  if (data.length) events.push({ id, event, data: data.join("\n") });
}
