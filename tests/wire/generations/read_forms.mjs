// Reads streams with the clients that people use, unmodified: each gets a `fetch` that answers with the bytes
// it is to read.  A line of JSON in, {client, pieces, headers, status, rest}; a line out: what the client made of
// it.  With `rest`, bytes for each Last-Event-ID, the first answer is cut off and the next one is from there.

import { createInterface } from "node:readline";
import * as ai5 from "ai5";
import * as ai6 from "ai6";
import * as ai7 from "ai7";
import { callChatApi } from "@ai-sdk/ui-utils";
import OpenAI from "openai";
import { HttpAgent } from "@ag-ui/client";
import * as agUiSchemas from "@ag-ui/core/schemas";
import { ChatClient, fetchServerSentEvents } from "@tanstack/ai-client";

// What is written to standard output is the answer.
for (const name of ["log", "warn", "info", "debug"]) console[name] = console.error;

function fetchOf({ pieces, headers = {}, status = 200, rest }) {
  return async (url, init) => {
    const seen = new Headers(init.headers).get("last-event-id");
    if (seen !== null) pieces = [rest[seen]];
    return new Response(
      new ReadableStream({
        start(controller) {
          for (const piece of pieces) if (piece) controller.enqueue(Uint8Array.from(Buffer.from(piece, "base64")));
          controller.close();
        },
      }),
      { status, headers },
    );
  };
}

const openai = (request) =>
  new OpenAI({ apiKey: "none", baseURL: "http://test/v1", maxRetries: 0, fetch: fetchOf(request) });
const asked = { model: "echo", messages: [{ role: "user", content: "a" }] };

function uiMessages(ai) {
  return async (request) => {
    const transport = new ai.DefaultChatTransport({ fetch: fetchOf(request) });
    const stream = await transport.sendMessages({ chatId: "c", messages: [], trigger: "submit-message" });
    const chunks = [];
    let message;
    let error;
    const [first, second] = stream.tee();
    for await (const chunk of first) chunks.push(chunk);
    for await (const each of ai.readUIMessageStream({ stream: second, onError: (e) => (error = e.message) }))
      message = each;
    return { chunks, message, error };
  };
}

const clients = {
  async openaiChat(request) {
    const chunks = [];
    for await (const chunk of await openai(request).chat.completions.create({ ...asked, stream: true }))
      chunks.push(chunk);
    return { chunks };
  },
  async openaiChatHelper(request) {
    return openai(request).chat.completions.stream(asked).finalChatCompletion();
  },
  async openaiChatWhole(request) {
    return openai(request).chat.completions.create(asked);
  },
  async openaiResponses(request) {
    const events = [];
    for await (const event of await openai(request).responses.create({ model: "echo", input: "a", stream: true }))
      events.push(event);
    return { events };
  },
  async openaiResponsesHelper(request) {
    return openai(request).responses.stream({ model: "echo", input: "a" }).finalResponse();
  },
  async openaiResponsesWhole(request) {
    return openai(request).responses.create({ model: "echo", input: "a" });
  },
  ai5: uiMessages(ai5),
  ai6: uiMessages(ai6),
  ai7: uiMessages(ai7),
  async ai4(request) {
    let message;
    let finish;
    await callChatApi({
      api: "http://test/api/chat",
      body: {},
      fetch: fetchOf(request),
      generateId: () => "local",
      onUpdate: (update) => (message = update.message),
      onFinish: (whole, details) => ([message, finish] = [whole, details]),
      restoreMessagesOnFailure() {},
    });
    return { message, finish };
  },
  async agUi(request) {
    const agent = new HttpAgent({ url: "http://test/api/ag-ui", fetch: fetchOf(request), threadId: "t" });
    const events = [];
    const result = await agent.runAgent(
      { runId: "r" },
      { onEvent: ({ event }) => void events.push(agUiSchemas.EventSchemas.parse(event)) },
    );
    return { events, messages: result.newMessages };
  },
  async tanstack(request) {
    const chunks = [];
    let error;
    const client = new ChatClient({
      threadId: "t",
      connection: fetchServerSentEvents("http://test/api/ag-ui", {
        fetchClient: fetchOf(request),
        reconnect: { delayMs: 0 },
      }),
      onChunk: (chunk) => void chunks.push(chunk),
      onError: (e) => (error = e.message),
    });
    await client.sendMessage("a");
    return { messages: client.getMessages(), chunks, error };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = { ok: await clients[request.client](request) };
  } catch (error) {
    const { name, message, status, code, param, type } = error;
    answer = { error: { name, message, status, code, param, type, kind: error.constructor.name } };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
