// Talks to a server with the clients from npm that people use, unmodified.  A line of JSON in, {client, url, …};
// a line out: what came of it.  `leave` closes the stream behind the first piece of text.

import { createInterface } from "node:readline";
import * as ai5 from "ai5";
import * as ai6 from "ai6";
import * as ai7 from "ai7";
import { callChatApi } from "@ai-sdk/ui-utils";
import OpenAI from "openai";
import { HttpAgent } from "@ag-ui/client";
import { ChatClient, fetchServerSentEvents } from "@tanstack/ai-client";

// What is written to standard output is the answer.
for (const name of ["log", "warn", "info", "debug"]) console[name] = console.error;

const openai = ({ url }) => new OpenAI({ apiKey: "none", baseURL: `${url}/v1`, maxRetries: 0 });
const chat = ({ text, model = "echo", more = {} }) => ({ model, messages: [{ role: "user", content: text }], ...more });

async function responseEvents(stream, leave) {
  let text = "";
  let last;
  let id;
  for await (const event of stream) {
    last = event;
    id ??= event.response?.id;
    if (event.type === "response.output_text.delta") text += event.delta;
    if (leave && text) break;
  }
  return { text, id, type: last.type, number: last.sequence_number, status: last.response?.status };
}

function transport(ai) {
  return async ({ url, text, chatId, more = {}, leave, resume }) => {
    const transport = new ai.DefaultChatTransport({ api: `${url}/api/chat`, body: more });
    const aborting = new AbortController();
    const message = { id: "m1", role: "user", parts: [{ type: "text", text }] };
    const stream = resume
      ? await transport.reconnectToStream({ chatId })
      : await transport.sendMessages({
          chatId,
          messages: [message],
          trigger: "submit-message",
          abortSignal: aborting.signal,
        });
    if (stream === null) return { stream: null };
    const answer = { text: "", types: [] };
    try {
      for await (const chunk of stream) {
        answer.types.push(chunk.type);
        if (chunk.type === "text-delta") answer.text += chunk.delta;
        if (chunk.type === "error") answer.error = chunk.errorText;
        if (leave && answer.text) aborting.abort();
      }
    } catch (error) {
      if (error.name !== "AbortError") throw error;
      answer.aborted = true;
    }
    return answer;
  };
}

const clients = {
  async openaiChat(request) {
    const stream = await openai(request).chat.completions.create({ ...chat(request), stream: true });
    const answer = { text: "" };
    for await (const chunk of stream) {
      answer.id = chunk.id;
      answer.text += chunk.choices[0]?.delta.content ?? "";
      answer.finish = chunk.choices[0]?.finish_reason ?? answer.finish;
      answer.usage = chunk.usage;
      if (request.leave && answer.text) stream.controller.abort();
    }
    return answer;
  },
  async openaiChatHelper(request) {
    const whole = await openai(request).chat.completions.stream(chat(request)).finalChatCompletion();
    return { text: whole.choices[0].message.content };
  },
  async openaiChatWhole(request) {
    const signal = request.leave ? AbortSignal.timeout(500) : undefined;
    const whole = await openai(request).chat.completions.create(chat(request), { signal });
    return { text: whole.choices[0].message.content, usage: whole.usage };
  },
  async openaiResponses(request) {
    const { text, more = {}, leave } = request;
    const ask = { model: "echo", input: text, ...more, stream: true };
    return responseEvents(await openai(request).responses.create(ask), leave);
  },
  async openaiResponsesHelper(request) {
    const whole = await openai(request).responses.stream({ model: "echo", input: request.text }).finalResponse();
    return { text: whole.output_text, status: whole.status };
  },
  async openaiResponsesWhole(request) {
    const { text, more = {} } = request;
    return openai(request).responses.create({ model: "echo", input: text, ...more });
  },
  async openaiRetrieve(request) {
    return openai(request).responses.retrieve(request.id);
  },
  async openaiRetrieveStream(request) {
    const after = { stream: true, starting_after: request.after };
    return responseEvents(await openai(request).responses.retrieve(request.id, after));
  },
  async openaiCancel(request) {
    return openai(request).responses.cancel(request.id);
  },
  async openaiDelete(request) {
    return (await openai(request).responses.delete(request.id)) ?? null;
  },
  async openaiModels(request) {
    const ids = [];
    for await (const model of openai(request).models.list()) ids.push(model.id);
    return { ids, one: await openai(request).models.retrieve(ids[0]) };
  },
  ai5: transport(ai5),
  ai6: transport(ai6),
  ai7: transport(ai7),
  async ai4({ url, text, chatId, more = {}, leave }) {
    const aborting = new AbortController();
    const answer = { text: "" };
    await callChatApi({
      api: `${url}/api/chat`,
      body: { id: chatId, messages: [{ role: "user", content: text, parts: [{ type: "text", text }] }], ...more },
      abortController: () => aborting,
      generateId: () => "local",
      onUpdate({ message }) {
        answer.text = message.content;
        if (leave && answer.text) aborting.abort();
      },
      onFinish: (message, details) => Object.assign(answer, { text: message.content, ...details }),
      restoreMessagesOnFailure() {},
    });
    return answer;
  },
  async agUi({ url, text, more = {}, leave }) {
    const agent = new HttpAgent({ url: `${url}/api/ag-ui`, threadId: "t1" });
    agent.addMessage({ id: "m1", role: "user", content: text });
    const types = [];
    const runs = new Set();
    let said = "";
    await agent.runAgent(
      { runId: "r1", forwardedProps: more },
      {
        onEvent({ event }) {
          types.push(event.type);
          if (event.runId) runs.add(`${event.threadId} ${event.runId}`);
          if (event.type === "TEXT_MESSAGE_CONTENT") {
            said += event.delta;
            if (leave) agent.abortRun();
          }
        },
      },
    );
    return { text: said, types, runs: [...runs] };
  },
  async tanstack({ url, text, more = {}, leave }) {
    const types = [];
    let error;
    const client = new ChatClient({
      threadId: "t1",
      forwardedProps: more,
      connection: fetchServerSentEvents(`${url}/api/ag-ui`, { reconnect: { delayMs: 0 } }),
      onChunk(chunk) {
        types.push(chunk.type);
        if (leave && chunk.type === "TEXT_MESSAGE_CONTENT") client.stop();
      },
      onError: (e) => (error = e.message),
    });
    await client.sendMessage(text);
    const answer = client.getMessages().filter(({ role }) => role === "assistant");
    const parts = answer.flatMap(({ parts }) => parts).filter(({ type }) => type === "text");
    return { text: parts.map(({ content }) => content).join(""), types, error };
  },
  async tanstackJoin({ url, runId }) {
    const connection = fetchServerSentEvents(`${url}/api/ag-ui`);
    let text = "";
    const types = [];
    for await (const chunk of connection.joinRun(runId)) {
      types.push(chunk.type);
      if (chunk.type === "TEXT_MESSAGE_CONTENT") text += chunk.delta;
    }
    return { text, types };
  },
  // The loop that people write by hand: whatever has come, split at "data: ".
  async loop({ url, text, more = {} }) {
    const response = await fetch(`${url}/generations?format=raw`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ messages: [{ role: "user", content: text }], ...more }),
    });
    if (!response.ok) return { status: response.status, problem: await response.json() };
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    const answer = { text: "", done: false };
    let waiting = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return answer;
      waiting += decoder.decode(value, { stream: true });
      const lines = waiting.split("\n");
      waiting = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data: ")) continue;
        const data = line.slice(6);
        if (data === "[DONE]") {
          answer.done = true;
          continue;
        }
        const { content, error } = JSON.parse(data);
        if (error) answer.error = error;
        else answer.text += content;
      }
    }
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
