// All monitors, a row each.

import { lively, named, rate, records } from "./cameras.js";
import { make, say } from "./parts.js";
import { Thumb } from "./pictures.js";
import { askJson } from "./service.js";

const EVENTS_MS = 30000;

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
    say(state, monitor.mark ? `${monitor.state}, not recording` : monitor.state);
    state.className = `state ${monitor.mark ?? monitor.state}`;
    this.link.title = monitor.not_recording ?? monitor.reason;
    say(fps, rate(monitor));
    say(rec, records(monitor) ? "recording" : lively(monitor) ? "not now" : "–");
    rec.className = records(monitor) ? "rec recording" : "rec dim";
    say(this.when, newest?.start?.slice(11) ?? "none yet");
    say(this.event, newest ? `event ${newest.id}` : "");
    say(restarts, String(monitor.restarts_last_hour));
    this.thumb.show(newest?.id);
  }
}

export class List {
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
    const { events } = await askJson("api/events?limit=200");
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
