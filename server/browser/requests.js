// Requests to the server, and what it says when it refuses one. All modules of this folder that ask it for something
// ask here.

/** Where the server is: this module comes from `<base>client/requests.js`. */
export const HOME = new URL("..", import.meta.url).href;

/** Refusals that may pass by themselves; any other 4xx would be answered the same again. */
const PASSING_REFUSALS = new Set([408, 425, 429]);

/** What went wrong, as the server put it (RFC 9457). `status` 0: no answer came at all. */
export class ProblemError extends Error {
  /**
   * @param {number} status
   * @param {{code?: string, title?: string, detail?: string, errors?: {pointer: string, detail: string}[]}} problem
   * @param {number | null} [retryAfter] Seconds, from `Retry-After`.
   */
  constructor(status, problem, retryAfter = null) {
    super(problem.detail || problem.title || `HTTP ${status}`);
    this.name = "ProblemError";
    this.status = status;
    /** Stable, for programs; null where the answer was not the server's own. */
    this.code = problem.code ?? null;
    this.title = problem.title ?? `HTTP ${status}`;
    this.detail = problem.detail ?? "";
    /** What is wrong where: `pointer` is a JSON pointer into the body. */
    this.errors = problem.errors ?? [];
    this.retryAfter = retryAfter;
  }

  /** Whether the same request would be refused again. */
  get isFinal() {
    return this.status >= 400 && this.status < 500 && !PASSING_REFUSALS.has(this.status);
  }
}

/**
 * @param {string} base A page's address, with or without the last slash.
 * @param {string} path
 */
export function rooted(base, path) {
  const root = new URL(base, HOME);
  if (!root.pathname.endsWith("/")) root.pathname += "/";
  return new URL(path, root);
}

/**
 * Fetch, with whatever is not a success thrown as a `ProblemError`; so is a request that was aborted.
 *
 * @param {URL} url
 * @param {RequestInit} request
 */
export async function ask(url, request) {
  let answer;
  try {
    answer = await fetch(url, { cache: "no-store", ...request });
  } catch {
    throw new ProblemError(0, { code: "unreachable", title: "No answer", detail: "The server could not be reached." });
  }
  if (answer.ok) return answer;
  const retryAfter = Number.parseInt(answer.headers.get("Retry-After") ?? "", 10);
  throw new ProblemError(answer.status, await readProblem(answer), Number.isNaN(retryAfter) ? null : retryAfter);
}

/** @param {Response} answer */
async function readProblem(answer) {
  const title = `HTTP ${answer.status} ${answer.statusText}`.trim();
  const type = answer.headers.get("Content-Type") ?? "";
  if (!type.startsWith("application/problem+json")) return { title };
  return answer.json().catch(() => ({ title }));
}
