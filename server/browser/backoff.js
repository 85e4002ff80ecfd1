// How long to wait before an attempt of our own to reconnect: longer each time, and drawn at random, so that the
// clients of a server that fell over do not come back all at once.

const SHORTEST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;

/**
 * @param {number} attempt How many attempts have failed so far.
 * @returns {number} Milliseconds, from 1 to 30 seconds.
 */
export function backoff(attempt) {
  const longest = Math.min(LONGEST_WAIT, SHORTEST_WAIT * 2 ** (attempt + 1));
  return SHORTEST_WAIT + Math.random() * (longest - SHORTEST_WAIT);
}
