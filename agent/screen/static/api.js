// The till's loopback API from the page: the browser's cookie says who asks.

export class Refused extends Error {
  constructor(status, error) {
    super(error.code);
    this.status = status;
    this.error = error;
  }
}

/** Ask and give back the JSON. Throws Refused for an answer that is no, TypeError where nobody answers. */
export async function ask(method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
  });
  const reply = await answer.json();
  if (!answer.ok) throw new Refused(answer.status, reply.error);
  return reply;
}

/** Call `heard(event, data)` for each event, `away()` when the till does not answer; comes back by itself. */
export function listen(names, heard, away) {
  const source = new EventSource("/v1/events");
  for (const name of names) {
    source.addEventListener(name, (event) => heard(name, JSON.parse(event.data)));
  }
  source.onerror = () => {
    away();
    if (source.readyState === EventSource.CLOSED) {
      setTimeout(() => listen(names, heard, away), 1000);
    }
  };
}

/** An id that nobody else makes. */
export function newId(prefix) {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return prefix + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
