// Owns talking to the balancer: requests with errors in words, and the stream of events with what becomes of it.

/** How long an answer may take. It is longer than the balancer gives itself, so that its own word comes first. */
export const PATIENCE_MS = 17000;

/** After this long without a word the page is stale. */
const STALE_MS = 3000;

/** After this long a stream is opened anew: its connection may be dead without anybody having said so. */
const REOPEN_MS = 10000;

/** The pause before a lost stream is opened again. */
const PAUSE_MS = 1000;

/** What is to be said of an order whose answer did not come. */
export const PERHAPS = "It may have taken the order all the same: look again when the page is live.";

/**
 * Sends a request to `/api/v1/<path>` and gives the answer. Throws an `Error` whose message is for people; its `status` is the
 * answer's, and without one there was no answer. `signal` ends the wait.
 */
export async function call(method, path, body, signal) {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const request = { method, signal: signal ? AbortSignal.any([patience, signal]) : patience, cache: "no-store" };
  if (body !== undefined) {
    request.headers = { "Content-Type": "application/json" };
    request.body = JSON.stringify(body);
  }
  let response;
  let answer = null;
  try {
    response = await fetch(`/api/v1/${path}`, request);
    answer = await response.json().catch(() => null);
  } catch (error) {
    const late = error.name === "TimeoutError";
    const order = method === "GET" ? "" : ` ${PERHAPS}`;
    throw new Error((late ? `The balancer has not answered for ${PATIENCE_MS / 1000} s.` : "The balancer does not answer.") + order);
  }
  if (response.ok) return answer;
  throw refusal(response.status, response.statusText, answer);
}

/** The error that a refusing answer tells. */
export function refusal(status, words, answer) {
  const why = [answer?.error, answer?.hint].filter(Boolean).join(" – ");
  const failure = new Error(why || `The balancer answers ${status} ${words}.`);
  failure.status = status;
  return failure;
}

/**
 * Follows the balancer's events for as long as the page is open. Each opening asks for all notices that the balancer still
 * has, because a restarted one counts anew; whoever keeps them tells what it knows already.
 *
 * `on.state(data)`, `on.notice(notice)`, `on.lost()` when the stream broke off, and `on.silence(seconds)` twice a second: null while it is live, or how
 * long nothing was heard.
 */
export function follow(on) {
  let source;
  let reopening;
  let opened;
  let heard = performance.now();

  function open() {
    source?.close();
    clearTimeout(reopening);
    opened = performance.now();
    source = new EventSource("/api/v1/events?after=0");
    source.addEventListener("state", (event) => {
      heard = performance.now();
      on.silence(null);
      on.state(JSON.parse(event.data));
    });
    source.addEventListener("notice", (event) => on.notice(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      source.close();
      on.lost();
      clearTimeout(reopening);
      reopening = setTimeout(open, PAUSE_MS);
    });
  }

  open();
  setInterval(() => {
    const now = performance.now();
    if (now - heard > STALE_MS) on.silence((now - heard) / 1000);
    if (now - Math.max(heard, opened) > REOPEN_MS) open();
  }, 500);
}
