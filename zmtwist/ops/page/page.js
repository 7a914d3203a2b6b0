// What is shown. All text comes into the page as text, never as markup.

import { ask, askJson, follow, forgetToken, hasToken, keepToken, pause, showLive, showRecording } from "./service.js";

const LOOK_MS = 3000;
const MOST_TOLD = 100;
const SURE_MS = 4000;
const EVENTS_MS = 30000;
const MOST_WAIT_MS = 120000;
const SHOWING = ["LINKED", "LIVE", "STALLED"];
const find = (id) => document.getElementById(id);
const main = find("main");

let monitors = new Map(); // by id, as last read
let view = null;

// Small parts.

/** An element with attributes and children; what is undefined or null is left out. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Change a text only where it differs, so that nothing is read out or laid out again for nothing. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function clock(text) {
  return new Date(text).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
}

function span(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

const named = (id) => monitors.get(id)?.name || `Monitor ${id}`;
const lively = (monitor) => SHOWING.includes(monitor.state);
const records = (monitor) => lively(monitor) && monitor.last_event?.open === true;
const rate = (monitor) => (monitor.capture_fps == null ? "–" : `${monitor.capture_fps.toFixed(1)} fps`);

function trouble(text) {
  say(find("trouble"), text);
  find("trouble").hidden = !text;
}

// Pictures of events: fetched with the token, shown from memory, kept for as long as they may be seen again.

const pictures = new Map();
const MOST_PICTURES = 150;

/** The picture that tells most of an event: its best frame, else its first. Null where there is none, or none yet. */
async function picture(eventId) {
  if (!pictures.has(eventId)) {
    let response = await ask(`/api/events/${eventId}/alarm.jpg`);
    if (response.status === 204) response = await ask(`/api/events/${eventId}/snapshot.jpg`);
    if (response.status === 204) return null;
    pictures.set(eventId, URL.createObjectURL(await response.blob()));
    if (pictures.size > MOST_PICTURES) {
      const [oldest, url] = pictures.entries().next().value;
      pictures.delete(oldest);
      URL.revokeObjectURL(url);
    }
  }
  return pictures.get(eventId);
}

/** A frame of fixed shape for the picture of an event, which may come later or never: it is asked for less and less often. */
class Thumb {
  constructor() {
    this.element = make("span", { class: "thumb" }, "no picture");
    this.eventId = null;
  }

  async show(eventId) {
    if (eventId == null) return;
    if (this.eventId !== eventId) Object.assign(this, { eventId, shown: false, next: 0, wait: LOOK_MS });
    if (this.shown || Date.now() < this.next || this.wait > MOST_WAIT_MS) return;
    this.next = Date.now() + this.wait;
    this.wait *= 2;
    const url = await picture(eventId).catch(() => null);
    if (url && this.eventId === eventId) {
      this.shown = true;
      this.element.replaceChildren(make("img", { src: url, alt: "" }));
    }
  }
}

// The list of all monitors.

class Row {
  constructor(id) {
    this.thumb = new Thumb();
    const part = (name) => make("span", { class: name });
    this.name = make("span", {});
    this.id = make("small", {}, `monitor ${id}`);
    this.when = make("span");
    this.event = make("small");
    this.parts = { state: part("state"), fps: part("fps"), rec: part("rec"), last: part("last"), restarts: part("restarts end") };
    const head = make("span", { class: "name" }, this.name, this.id);
    const { state, fps, rec, last, restarts } = this.parts;
    last.append(this.when, " ", this.event);
    this.link = make("a", { class: "camera", href: `#/monitors/${id}` }, this.thumb.element, head, state, fps, rec, last, restarts);
    this.element = make("li", { "data-monitor": id }, this.link);
  }

  update(monitor, newest) {
    const { state, fps, rec, restarts } = this.parts;
    say(this.name, named(monitor.id));
    say(state, monitor.state);
    state.className = `state ${monitor.state}`;
    this.link.title = monitor.reason;
    say(fps, rate(monitor));
    say(rec, records(monitor) ? "recording" : lively(monitor) ? "not now" : "–");
    rec.className = records(monitor) ? "rec recording" : "rec dim";
    say(this.when, newest?.start?.slice(11) ?? "none yet");
    say(this.event, newest ? `event ${newest.id}` : "");
    say(restarts, String(monitor.restarts_last_hour));
    this.thumb.show(newest?.id);
  }
}

class List {
  constructor() {
    this.rows = new Map();
    this.newest = new Map(); // closed events by monitor
    this.next = 0;
    this.title = make("h1", { tabindex: -1 }, "Cameras");
    this.list = make("ul");
    this.none = make("p", { class: "dim", hidden: true }, "No monitor of this server runs on zm-next yet. ", make("code", {}, "zmnextctl doctor"), " helps.");
    this.others = make("ul");
    this.elsewhere = make("details", { class: "others", hidden: true }, make("summary", {}, "Not on zm-next"), this.others);
    const heads = ["Last picture", "Name", "State", "Rate", "Recording", "Last event", "Restarts, 1 h"];
    const ends = new Set(["Restarts, 1 h"]);
    const head = make("div", { class: "camera heads", "aria-hidden": "true" }, ...heads.map((text) => make("span", { class: ends.has(text) ? "end" : null }, text)));
    const table = make("div", { class: "cameras" }, head, this.list);
    this.element = make("section", {}, this.title, table, this.none, this.elsewhere);
  }

  wants(data) {
    if ("event_id" in data) this.next = 0;
    return true;
  }

  async look() {
    if (Date.now() < this.next) return;
    this.next = Date.now() + EVENTS_MS;
    const { events } = await askJson("/api/events?limit=200");
    for (const event of events.reverse()) {
      if (event.end) this.newest.set(event.monitor_id, event);
    }
  }

  update({ monitors: here, elsewhere }) {
    for (const [id, row] of this.rows) {
      if (!here.some((monitor) => monitor.id === id)) {
        row.element.remove();
        this.rows.delete(id);
      }
    }
    for (const monitor of here) {
      if (!this.rows.has(monitor.id)) {
        const row = new Row(monitor.id);
        this.rows.set(monitor.id, row);
        this.list.append(row.element);
      }
      this.rows.get(monitor.id).update(monitor, this.newest.get(monitor.id));
    }
    this.none.hidden = here.length > 0;
    this.elsewhere.hidden = elsewhere.length === 0;
    if (this.others.childElementCount !== elsewhere.length) {
      this.others.replaceChildren(...elsewhere.map((one) => make("li", {}, `${one.name || "Monitor"} (${one.id}): ${one.reason}`)));
    }
  }

  close() {}
}

// One monitor.

const ORDERS = {
  start: { label: "Start", can: (m) => !lively(m) && m.state !== "STARTING" },
  stop: { label: "Stop", can: (m) => m.state !== "HELD" && m.state !== "STOPPED", sure: "This ends the recording: press again to stop." },
  restart: { label: "Restart", can: lively, sure: "This ends the recording for a moment: press again to restart." },
  reload: { label: "Reload", can: () => true },
  hold: { label: "Hold", can: (m) => m.state !== "HELD", sure: "This ends the recording: press again to hold." },
  release: { label: "Release", can: (m) => m.state === "HELD" },
};

class Order {
  constructor(name, id, told) {
    this.told = told;
    this.path = `/api/monitors/${id}/${name}`;
    Object.assign(this, ORDERS[name]);
    this.element = make("button", { type: "button", "data-order": name, onclick: () => this.clicked() }, this.label);
  }

  /** What ends a recording is asked twice, in place: no dialog, and nothing moves. */
  async clicked() {
    if (this.sure && !this.element.classList.contains("sure")) {
      this.element.classList.add("sure");
      say(this.element, "Sure?");
      say(this.told, this.sure);
      this.timer = setTimeout(() => {
        this.calm();
        say(this.told, "");
      }, SURE_MS);
      return;
    }
    this.calm();
    say(this.told, `${this.label}: asked for`);
    try {
      const monitor = await askJson(this.path, { method: "POST" });
      say(this.told, `${this.label}: done, it is ${monitor.state}`);
    } catch (error) {
      say(this.told, `${this.label}: ${error.message}`);
    }
    look();
  }

  calm() {
    clearTimeout(this.timer);
    this.element.classList.remove("sure");
    say(this.element, this.label);
  }
}

/** The picture of one monitor: live, or a clip, or a word on why there is nothing to see. */
class Screen {
  constructor(id) {
    this.id = id;
    this.note = make("p", {}, "Live view, or a recording below.");
    this.video = make("video", { playsinline: true, controls: true, hidden: true });
    this.video.muted = true;
    this.element = make("div", { class: "picture" }, this.note, this.video);
    this.button = make("button", { type: "button", class: "main", onclick: () => this.toggle() }, "Live view");
    this.stopped = null; // ends live view
    this.playing = null; // ends a recording that is fetched piece by piece
    this.eventId = null;
  }

  toggle() {
    if (this.stopped) this.rest("Live view has ended.");
    else this.live();
  }

  /** Show nothing, but a word. */
  rest(text) {
    this.stopped?.abort();
    this.stopped = null;
    this.playing?.abort();
    this.playing = null;
    this.eventId = null;
    say(this.button, "Live view");
    this.video.removeAttribute("src");
    this.video.load();
    this.video.hidden = true;
    say(this.note, text);
    chosen(null);
  }

  async live() {
    this.rest("The picture is on its way.");
    const stopped = (this.stopped = new AbortController());
    say(this.button, "End live view");
    this.video.controls = false;
    this.video.muted = true;
    try {
      for (;;) {
        this.video.hidden = false;
        await showLive(this.video, `/api/monitors/${this.id}/live.mp4`, stopped.signal);
        // It has ended, as it does when the camera's worker is started anew: wait until there is something to see again.
        say(this.note, "The camera gives no picture now; it is shown again as soon as it does.");
        this.video.hidden = true;
        do await pause(1000, stopped.signal);
        while (!lively(monitors.get(this.id) ?? {}));
      }
    } catch (error) {
      if (!stopped.signal.aborted) this.rest(error.message);
    }
  }

  async clip(event, at = 0) {
    this.rest(`Event ${event.id} is on its way.`);
    this.eventId = event.id;
    chosen(event.id);
    try {
      const { url } = await askJson(`/api/events/${event.id}/ticket`);
      if (this.eventId !== event.id) return;
      this.video.hidden = false;
      this.video.controls = true;
      this.video.onerror = () => this.failed(event, url, at);
      this.video.src = url;
      this.video.currentTime = at;
      this.video.play().catch(() => {});
    } catch (error) {
      if (this.eventId === event.id) this.rest(error.message);
    }
  }

  /** A ticket runs out while the video is paused: get another one. What never played, the browser does not know: it gets MP4. */
  async failed(event, url, at) {
    if (this.eventId !== event.id || !this.video.hasAttribute("src")) return;
    const now = this.video.currentTime;
    if (now > at) {
      this.clip(event, now);
      return;
    }
    this.video.onerror = null;
    const stopped = (this.playing = new AbortController());
    try {
      await showRecording(this.video, `/api/events/${event.id}/clip.mp4`, stopped.signal);
    } catch (error) {
      if (stopped.signal.aborted) return;
      this.rest(`${error.message} `);
      this.note.append(make("a", { href: url, download: event.video }, "Save the recording"), " for another player.");
    }
  }

  close() {
    this.rest("");
  }
}

function chosen(eventId) {
  for (const button of main.querySelectorAll("button.event")) {
    button.setAttribute("aria-pressed", String(button.dataset.event === String(eventId)));
  }
}

class Recording {
  constructor(event, play) {
    this.thumb = new Thumb();
    this.when = make("b");
    this.length = make("span");
    this.cause = make("small");
    const line = make("span", { class: "line" }, this.when, this.length);
    const attributes = { type: "button", class: "event", "aria-pressed": "false", "data-event": event.id, onclick: () => play(this.event) };
    this.button = make("button", attributes, this.thumb.element, line, this.cause);
    this.element = make("li", {}, this.button);
    this.update(event);
  }

  update(event) {
    this.event = event;
    say(this.when, `${event.start?.slice(11) ?? ""}`);
    this.when.title = event.start;
    say(this.length, event.end ? span(event.length) : "recording");
    this.length.className = event.end ? "dim" : "recording";
    const alarms = event.alarm_frames ? `, ${event.alarm_frames} alarm frames, score ${event.max_score}` : "";
    say(this.cause, `${event.id}: ${event.cause}${alarms}`);
    this.button.disabled = !event.end || !event.video;
    if (event.end) this.thumb.show(event.id);
  }
}

class Monitor {
  constructor(id) {
    this.id = id;
    this.title = make("h1", { tabindex: -1 }, named(id));
    this.state = make("span", { class: "state" });
    this.what = make("span");
    this.do = make("span", { class: "do" });
    this.more = make("p", { class: "why do", hidden: true });
    this.told = make("p", { class: "told", role: "status" });
    this.orders = Object.keys(ORDERS).map((name) => new Order(name, id, this.told));
    this.screen = new Screen(id);
    this.figures = make("dl", { class: "figures" });
    this.cells = new Map();
    this.events = new Map();
    this.list = make("ol", { class: "events" });
    this.noEvents = make("p", { class: "dim" }, "None yet.");
    this.log = make("pre", { class: "log", tabindex: 0, "aria-label": "The worker's last log lines" });
    this.text = make("pre", { class: "document", tabindex: 0 });
    this.document = make("details", { class: "block", ontoggle: () => this.showDocument() }, make("summary", {}, "Its document, without secrets"), this.text);
    const tools = make("div", { class: "tools" }, this.screen.button, ...this.orders.map((order) => order.element), this.told);
    this.element = make(
      "section",
      {},
      make("p", { class: "crumbs" }, make("a", { href: "#/" }, "All cameras")),
      make("div", { class: "title" }, this.title, this.state),
      make("p", { class: "why" }, this.what, " ", this.do),
      this.more,
      make("div", { class: "pair" }, make("div", {}, this.screen.element, tools), this.figures),
      make("h2", { class: "block" }, "Last events"),
      this.noEvents,
      this.list,
      make("h2", { class: "block" }, "Log"),
      this.log,
      this.document,
    );
  }

  wants(data) {
    return data.monitor_id === this.id;
  }

  async look() {
    const [monitor, why, { events }] = await Promise.all([
      askJson(`/api/monitors/${this.id}`),
      askJson(`/api/monitors/${this.id}/why`),
      askJson(`/api/events?monitor=${this.id}&limit=12`),
    ]);
    this.show(monitor, why, events);
  }

  update() {}

  show(monitor, why, events) {
    say(this.title, named(this.id));
    say(this.state, monitor.state);
    this.state.className = `state ${monitor.state}`;
    say(this.what, `${why.what}.`);
    say(this.do, why.do ? `${why.do[0].toUpperCase()}${why.do.slice(1)}.` : "");
    const due = monitor.restart_due && `It is started anew when its clip ends: ${monitor.restart_due}.`;
    const adopted = monitor.adopted && "It was started by an earlier run of this service: what it logs is not known.";
    say(this.more, [due, adopted, monitor.legacy].filter(Boolean).join(" "));
    this.more.hidden = !this.more.textContent;
    for (const order of this.orders) order.element.disabled = !order.can(monitor);
    this.screen.button.disabled = !lively(monitor) && !this.screen.stopped;
    this.figure("Recording", records(monitor) ? `yes, event ${monitor.last_event.id}` : "not now");
    this.figure("Rate", rate(monitor));
    this.figure("In this state", span(monitor.seconds_in_state));
    this.figure("Restarts, last hour", String(monitor.restarts_last_hour));
    this.figure("Events since start", `${monitor.events_opened} opened, ${monitor.events_closed} closed`);
    this.figure("Messages missed", String(monitor.missed_events));
    this.figure("Queued changes", String(monitor.queued_changes));
    this.figure("Process", monitor.pid == null ? "none" : String(monitor.pid));
    this.figure("Last end", monitor.last_exit ?? "none seen");
    this.figure("Next try", monitor.next_retry ? clock(monitor.next_retry) : "–");
    this.showEvents(events);
    const atEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 30;
    say(this.log, monitor.log.join("\n") || "Nothing: it has not run, or it was started before this service.");
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
    this.digest = monitor.digest;
  }

  figure(name, value) {
    if (!this.cells.has(name)) {
      const cell = make("dd");
      this.cells.set(name, cell);
      this.figures.append(make("dt", {}, name), cell);
    }
    say(this.cells.get(name), value);
  }

  showEvents(events) {
    this.noEvents.hidden = events.length > 0;
    const gone = new Set(this.events.keys());
    events.forEach((event, place) => {
      gone.delete(event.id);
      if (this.events.has(event.id)) this.events.get(event.id).update(event);
      else this.events.set(event.id, new Recording(event, (chosen) => this.screen.clip(chosen)));
      const { element } = this.events.get(event.id);
      if (this.list.children[place] !== element) this.list.insertBefore(element, this.list.children[place] ?? null);
    });
    for (const id of gone) {
      this.events.get(id).element.remove();
      this.events.delete(id);
    }
  }

  async showDocument() {
    if (!this.document.open) return;
    if (!this.digest) {
      say(this.text, "It has none.");
      return;
    }
    try {
      const told = await askJson(`/api/monitors/${this.id}/pipeline`);
      say(this.text, [...told.warnings.map((warning) => `! ${warning}`), JSON.stringify(told.document, null, 2)].join("\n"));
    } catch (error) {
      say(this.text, error.message);
    }
  }

  close() {
    this.screen.close();
  }
}

// Looking: all that is shown is read again every few seconds, and soon after something has happened.

let looking = false;
let again = false;

async function look() {
  if (looking) {
    again = true;
    return;
  }
  looking = true;
  try {
    const [status, all] = await Promise.all([askJson("/api/status"), askJson("/api/monitors")]);
    monitors = new Map(all.monitors.map((monitor) => [monitor.id, monitor]));
    const live = status.monitors.by_state.LIVE ?? 0;
    const recording = all.monitors.filter(records).length;
    say(find("summary"), `${live} of ${status.monitors.total} cameras live, ${recording} recording, up ${span(status.uptime_seconds)}`);
    route();
    await view.look();
    view.update(all);
    const troubles = (status.storages ?? []).filter((one) => one.trouble).map((one) => `${one.trouble}: ${one.do}.`);
    if (status.database.error) troubles.unshift(`The database is away: ${status.database.error}.`);
    trouble(troubles.join(" "));
  } catch (error) {
    if (error.status === 401) return leave("This token is not the right one.");
    trouble(error.status ? error.message : "The service does not answer. The cameras may well go on; this page tries again.");
  } finally {
    looking = false;
  }
  if (again) {
    again = false;
    look();
  }
}

function route() {
  const found = /^#\/monitors\/(\d+)$/.exec(location.hash);
  const id = found ? Number(found[1]) : null;
  if (view && (view.id ?? null) === id) return;
  const first = view === null;
  view?.close();
  view = id !== null && monitors.has(id) ? new Monitor(id) : new List();
  if (id !== null && view instanceof List) history.replaceState(null, "", "#/");
  main.replaceChildren(view.element);
  document.title = id !== null ? `${named(id)} - zmtwist` : "zmtwist";
  if (!first) {
    view.title.focus();
    scrollTo(0, 0);
  }
}

// The feed.

const TOLD = {
  transition: (data) => [`${data.to}, was ${data.from}`, data.reason],
  event_opened: (data) => [`event ${data.event_id} began`, data.cause],
  event_closed: (data) => [`event ${data.event_id} ended`, `${span(data.length_seconds)}, ${data.frames} frames${data.alarm_frames ? `, ${data.alarm_frames} with alarm` : ""}`],
};

function hear(name, data) {
  if (TOLD[name]) {
    const [text, more] = TOLD[name](data);
    const time = make("time", { datetime: data.at }, clock(data.at));
    const line = make("span", {}, make("a", { href: `#/monitors/${data.monitor_id}` }, named(data.monitor_id)), `: ${text}`);
    const entry = make("li", { "data-happening": name, "data-event": data.event_id }, time, line, more ? make("small", {}, more) : null);
    find("feed").prepend(entry);
    while (find("feed").childElementCount > MOST_TOLD) find("feed").lastElementChild.remove();
    find("quiet").hidden = true;
  }
  if (name === "resync" || view?.wants(data)) soon();
}

let due = null;

function soon() {
  due ??= setTimeout(() => {
    due = null;
    look();
  }, 200);
}

// The door.

let open = null;

function enter() {
  open = new AbortController();
  find("door").hidden = true;
  find("desk").hidden = false;
  const linked = (on) => {
    find("linked").classList.toggle("on", on);
    say(find("linked"), on ? "following" : "not connected");
    if (on) look();
  };
  follow(hear, linked, open.signal).catch((error) => {
    if (error.status === 401) leave("This token is not the right one.");
  });
}

function leave(why) {
  open?.abort();
  open = null;
  forgetToken();
  view?.close();
  view = null;
  main.replaceChildren();
  find("feed").replaceChildren();
  find("desk").hidden = true;
  find("door").hidden = false;
  say(find("denied"), why);
  say(find("linked"), "");
  say(find("summary"), "");
  find("token").focus();
}

find("door").addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken(find("token").value.trim());
  find("token").value = "";
  say(find("denied"), "");
  enter();
});
addEventListener("hashchange", () => {
  if (open) look();
});
setInterval(() => {
  if (open && document.visibilityState === "visible") look();
}, LOOK_MS);
document.addEventListener("visibilitychange", () => {
  if (open && document.visibilityState === "visible") look();
});

if (hasToken()) enter();
else leave("");
