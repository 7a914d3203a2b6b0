// What the page asks of the service: answers, the feed of what happens, and video that is still being made.

const KEY = "zmnext.token";
const AGAIN_MS = 2000;
const BEHIND_SECONDS = 1.5; // of the newest frame: further behind, live view jumps
const KEPT_SECONDS = 20;

/** An answer other than the one asked for: its HTTP status, a code, and a sentence. */
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Keep the token for this tab. */
export function keepToken(token) {
  sessionStorage.setItem(KEY, token);
}

export function forgetToken() {
  sessionStorage.removeItem(KEY);
}

export function hasToken() {
  return sessionStorage.getItem(KEY) !== null;
}

/** One request with the token. Throws Refused. */
export async function ask(path, { method = "GET", signal, headers = {} } = {}) {
  const token = sessionStorage.getItem(KEY);
  const own = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { method, signal, headers: { ...own, ...headers }, cache: "no-store" });
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  const { code = "unreadable", message = `the service answered ${response.status}` } = told.error ?? {};
  throw new Refused(response.status, code, message);
}

export async function askJson(path, options) {
  return (await ask(path, options)).json();
}

export function pause(ms, signal) {
  const timer = new EventTarget();
  setTimeout(() => timer.dispatchEvent(new Event("over")), ms);
  return happened(timer, "over", signal);
}

/** Follow the feed for as long as the page is there: `hear(name, data)` for each entry, `linked(bool)` as it comes and goes. */
export async function follow(hear, linked, signal) {
  let last = "";
  while (!signal.aborted) {
    try {
      const headers = last ? { "Last-Event-ID": last } : {};
      const response = await ask("api/stream", { signal, headers });
      linked(true);
      for await (const entry of entries(response.body)) {
        last = entry.id || last;
        if (entry.event) hear(entry.event, JSON.parse(entry.data));
      }
    } catch (error) {
      if (signal.aborted || error.status === 401) throw error;
    }
    linked(false);
    await pause(AGAIN_MS, signal);
  }
}

/** The entries of a stream of server-sent events. */
async function* entries(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const entry = {};
      for (const line of part.split("\n")) {
        const colon = line.indexOf(": ");
        if (colon > 0) entry[line.slice(0, colon)] = line.slice(colon + 2);
      }
      yield entry;
    }
  }
}

const Source = globalThis.MediaSource ?? globalThis.ManagedMediaSource;

/** Show what a camera sends now, until it ends or `signal` aborts. Throws Refused, or Error with a sentence. */
export function showLive(video, path, signal) {
  return showMp4(video, path, signal, keepUp);
}

/** Show a finished recording, at the pace at which it is watched; otherwise as `showLive`. */
export function showRecording(video, path, signal) {
  return showMp4(video, path, signal, stayNear);
}

/** Feed fragmented MP4 from `path` to `video`; `after(video, buffer, signal)` is awaited after each piece. */
async function showMp4(video, path, signal, after) {
  if (!Source) throw new Error("This browser has no Media Source Extensions, which this needs.");
  const response = await ask(path, { signal });
  const kind = response.headers.get("content-type");
  const reader = response.body.getReader();
  if (!Source.isTypeSupported(kind)) {
    await reader.cancel();
    const codec = /hev1|hvc1/.test(kind) ? "H.265" : kind;
    throw new Error(`This browser can't play ${codec}, which the camera sends.`);
  }
  const source = new Source();
  const url = URL.createObjectURL(source);
  video.disableRemotePlayback = true;
  video.src = url;
  try {
    await happened(source, "sourceopen", signal);
    const buffer = source.addSourceBuffer(kind);
    video.play().catch(() => {}); // begins when there is something to play
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      buffer.appendBuffer(value);
      await happened(buffer, "updateend", signal);
      await after(video, buffer, signal);
    }
    if (source.readyState === "open") source.endOfStream();
  } finally {
    URL.revokeObjectURL(url);
    reader.cancel().catch(() => {});
  }
}

/** Stay near the newest frame, across what was left out for a slow line. */
async function keepUp(video, buffer, signal) {
  const { buffered } = video;
  if (!buffered.length) return;
  const newest = buffered.length - 1;
  const [start, end] = [buffered.start(newest), buffered.end(newest)];
  if (video.currentTime < start || end - video.currentTime > BEHIND_SECONDS) {
    video.currentTime = Math.max(start, end - 0.2);
  }
  await forget(video, buffer, signal);
}

/** Fetch no more of a recording than is watched soon. */
async function stayNear(video, buffer, signal) {
  const { buffered } = video;
  while (buffered.length && video.buffered.end(buffered.length - 1) - video.currentTime > KEPT_SECONDS) {
    await happened(video, "timeupdate", signal);
  }
  await forget(video, buffer, signal);
}

/** Let go of what was seen. */
async function forget(video, buffer, signal) {
  if (video.buffered.length && video.currentTime - video.buffered.start(0) > 2 * KEPT_SECONDS) {
    buffer.remove(0, video.currentTime - KEPT_SECONDS);
    await happened(buffer, "updateend", signal);
  }
}

/** Wait for an event of `target`; rejects at its error, and when `signal` aborts. */
function happened(target, name, signal) {
  return new Promise((resolve, reject) => {
    const over = new AbortController();
    const end = (settle, value) => {
      over.abort();
      settle(value);
    };
    const listen = { signal: over.signal };
    target.addEventListener(name, () => end(resolve), listen);
    target.addEventListener("error", () => end(reject, new Error("The browser can't decode what the camera sends.")), listen);
    signal.addEventListener("abort", () => end(reject, signal.reason), listen);
  });
}
