// What is shown, and when: the door, the view, the feed.

import { camera, learn, named, records } from "./cameras.js";
import { List } from "./list.js";
import { Monitor } from "./monitor.js";
import { clock, find, make, say, span } from "./parts.js";
import { askJson, follow, forgetToken, hasToken, keepToken } from "./service.js";

const LOOK_MS = 3000;
const MOST_TOLD = 100;
const main = find("main");

let view = null;

function trouble(text) {
  say(find("trouble"), text);
  find("trouble").hidden = !text;
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
    const [status, all] = await Promise.all([askJson("api/status"), askJson("api/monitors")]);
    learn(all.monitors);
    const live = status.monitors.by_state.LIVE ?? 0;
    const recording = all.monitors.filter(records).length;
    say(find("summary"), `${live} of ${status.monitors.total} cameras live, ${recording} recording, up ${span(status.uptime_seconds)}`);
    route();
    await view.look();
    view.update(all);
    const troubles = (status.storages ?? []).filter((one) => one.trouble).map((one) => `${one.trouble}: ${one.do}.`);
    if (status.recovery?.trouble) troubles.push(`${status.recovery.trouble}: ${status.recovery.do}.`);
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
  view = id !== null && camera(id) ? new Monitor(id, look) : new List();
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
