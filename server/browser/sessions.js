// The sessions of this tab, so that a reload comes back as the same member. A session's secret is the tab's own: two
// tabs are two members. Where there is no storage, in a worker or by the user's choice, a reload is somebody new.

const PREFIX = "sluiceway.session ";

/**
 * @param {string} url Where the room is, the member's name included.
 * @returns {string | null} The secret.
 */
export function rememberedSession(url) {
  try {
    return sessionStorage.getItem(PREFIX + url);
  } catch {
    return null;
  }
}

/**
 * @param {string} url
 * @param {string} secret
 */
export function rememberSession(url, secret) {
  try {
    sessionStorage.setItem(PREFIX + url, secret);
  } catch {
    // Without it all goes on but for a reload.
  }
}

/** @param {string} url */
export function forgetSession(url) {
  try {
    sessionStorage.removeItem(PREFIX + url);
  } catch {
    // There was none.
  }
}
