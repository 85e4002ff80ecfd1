// Which room this tab is in, and as whom, so that a reload comes back. It is the tab's own: two tabs are two people.

const KEY = "sluiceway.stay";

/** @typedef {{room: string, name: string}} Stay `room` is empty after leaving. */

/** @returns {Stay | null} */
export function rememberedStay() {
  try {
    const { room, name } = JSON.parse(sessionStorage.getItem(KEY) ?? "");
    return typeof room === "string" && typeof name === "string" ? { room, name } : null;
  } catch {
    return null;
  }
}

/** @param {Stay} stay */
export function rememberStay(stay) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(stay));
  } catch {
    // Without storage a reload asks again.
  }
}

/** Keep the name alone: a reload does not come back. */
export function forgetStay() {
  rememberStay({ room: "", name: rememberedStay()?.name ?? "" });
}
