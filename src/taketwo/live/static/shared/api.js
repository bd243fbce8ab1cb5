/** Requests to the server that the page came from. Addresses are relative, so that a proxy may put it under a folder. */

/** The JSON behind an address; an Error with the server's own words otherwise. */
export async function getJson(address) {
  let response;
  try {
    response = await fetch(address, { headers: { accept: "application/json" } });
  } catch {
    throw new Error("The server does not answer.");
  }
  if (!response.ok) throw new Refused(response.status, await words(response));
  return response.json();
}

/** A request that the server understood and refused. */
export class Refused extends Error {
  constructor(status, said) {
    super(said);
    this.status = status;
  }
}

/**
 * Send a command to the session.
 * @param {string} command
 * @param {Record<string, unknown>} [details]
 * @returns {Promise<{ok: boolean, said: string}>} never rejects
 */
export async function sendCommand(command, details = {}) {
  try {
    const response = await fetch("api/command", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ command, ...details }),
    });
    return { ok: response.ok, said: await words(response) };
  } catch {
    return { ok: false, said: "No connection: the command did not arrive." };
  }
}

async function words(response) {
  const text = await response.text();
  try {
    return String(JSON.parse(text).said ?? text);
  } catch {
    return text.slice(0, 300) || `${response.status} ${response.statusText}`;
  }
}
