// Datasets from a page: import rows and watch it, read rows as they arrive. Published at `/client/datasets.js`.
//
// A browser shows an answer only when the whole body has been sent. So an import is watched from beside: the page
// chooses the job's id, and follows the job's own event stream while the body is still on its way.

import { ProblemError } from "./sluiceway.js";

const HOME = new URL("..", import.meta.url).href;
/** Milliseconds between two looks for a job that is about to begin. */
const LOOK_AGAIN = 150;

/** @typedef {{current: number, total: number | null, percent: number | null, rows: number}} Progress */
/** @typedef {Progress & {state: "done" | "failed" | "cancelled", error: {code: string, message: string} | null}} Outcome */

/**
 * Import rows into a dataset, in the place of those it has.
 *
 * @param {string} dataset
 * @param {Blob | string} body
 * @param {object} options
 * @param {"text/csv" | "application/x-ndjson"} options.type
 * @param {(progress: Progress) => void} [options.onProgress] How far the server is.
 * @param {string} [options.base] Where the server is.
 * @returns {{id: string, ended: Promise<Outcome>, cancel: () => Promise<void>}} `ended` rejects with a ProblemError
 *   where the import was refused, and with a TypeError where the server cannot be reached.
 */
export function importRows(dataset, body, { type, onProgress = () => {}, base = HOME }) {
  const id = randomId();
  const upload = new XMLHttpRequest();
  const watching = new AbortController();
  const ended = /** @type {Promise<Outcome>} */ (
    new Promise((resolve, reject) => {
      follow(id, dataset, { base, signal: watching.signal, onProgress, onEnd: resolve });
      upload.onload = () => {
        const answer = parsed(upload.responseText);
        if (upload.status !== 202) reject(new ProblemError(upload.status, answer));
        else if (answer.state !== "running") resolve(answer);
        // Else the job is being committed, and its stream will say how it ended.
      };
      upload.onerror = () => {
        // It may have said why on the job's stream: then that is what is shown.
        setTimeout(() => reject(new TypeError("The server cannot be reached.")), LOOK_AGAIN * 10);
      };
    })
  ).finally(() => {
    watching.abort();
    upload.abort();
  });
  upload.open("POST", new URL(`datasets/${dataset}?job=${id}`, base));
  upload.setRequestHeader("Content-Type", type);
  upload.send(body);
  return {
    id,
    ended,
    async cancel() {
      // Answered after the rollback; the stream says so too.
      await fetch(new URL(`jobs/${id}/cancel`, base), { method: "POST" });
    },
  };
}

/**
 * Read rows, each given out as it arrives.
 *
 * @param {string} dataset
 * @param {object} options
 * @param {number} [options.after] Begin behind so many rows.
 * @param {number} [options.limit]
 * @param {AbortSignal} [options.signal]
 * @param {(rows: Record<string, unknown>[]) => void} options.onRows Called with those that came together.
 * @param {string} [options.base]
 * @returns {Promise<void>} Rejects with a ProblemError, or a TypeError where the rows broke off.
 */
export async function readRows(dataset, { after = 0, limit, signal, onRows, base = HOME }) {
  const url = new URL(`datasets/${dataset}/rows?after=${after}${limit === undefined ? "" : `&limit=${limit}`}`, base);
  const answer = await fetch(url, { signal, headers: { Accept: "application/x-ndjson" } });
  if (!answer.ok) throw new ProblemError(answer.status, parsed(await answer.text()));
  if (answer.body === null) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    if (lines.length > 0) onRows(lines.map((line) => JSON.parse(line)));
  }
}

/**
 * @param {string} id
 * @param {string} dataset
 * @param {object} options
 * @param {string} options.base
 * @param {AbortSignal} options.signal
 * @param {(progress: Progress) => void} options.onProgress
 * @param {(outcome: Outcome) => void} options.onEnd
 */
async function follow(id, dataset, { base, signal, onProgress, onEnd }) {
  if (!(await hasBegun(id, dataset, base, signal))) return;
  const events = new EventSource(new URL(`jobs/${id}/events`, base));
  signal.addEventListener("abort", () => events.close());
  let last = { current: 0, total: null, percent: null, rows: 0 };
  events.addEventListener("progress", ({ data }) => onProgress((last = JSON.parse(data))));
  events.addEventListener("done", ({ data }) => onEnd({ ...JSON.parse(data), state: "done", error: null }));
  events.addEventListener("error", (event) => {
    // The job's own; that of a connection has no data, and EventSource comes back by itself.
    if (!(event instanceof MessageEvent)) return;
    const { state, ...error } = JSON.parse(event.data);
    onEnd({ ...last, state, error });
  });
  events.addEventListener("closing", ({ data }) => JSON.parse(data).reconnect || events.close());
}

/**
 * Whether the job runs; not where it is over before anybody saw it, which the answer to the upload tells.
 *
 * @param {string} id
 * @param {string} dataset
 * @param {string} base
 * @param {AbortSignal} signal
 */
async function hasBegun(id, dataset, base, signal) {
  while (!signal.aborted) {
    try {
      const answer = await fetch(new URL(`jobs?dataset=${dataset}&limit=1000`, base), { signal });
      if (answer.ok && (await answer.json()).jobs.some((/** @type {{id: string}} */ job) => job.id === id)) {
        return !signal.aborted;
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN));
    } catch {
      // Aborted, or the server is away: the upload says which.
      return false;
    }
  }
  return false;
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function randomId() {
  // Not `randomUUID`, which only secure origins have.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
