// One monitor: its picture, its state, its last events, its log.

import { lively, named, rate, records } from "./cameras.js";
import { Order, ORDERS } from "./orders.js";
import { clock, make, say, span } from "./parts.js";
import { Thumb } from "./pictures.js";
import { Screen } from "./screen.js";
import { askJson } from "./service.js";

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

export class Monitor {
  /** `look` is called after an order: what is shown may have changed. */
  constructor(id, look) {
    this.id = id;
    this.title = make("h1", { tabindex: -1 }, named(id));
    this.state = make("span", { class: "state" });
    this.what = make("span");
    this.do = make("span", { class: "do" });
    this.more = make("p", { class: "why do", hidden: true });
    this.told = make("p", { class: "told", role: "status" });
    this.orders = Object.keys(ORDERS).map((name) => new Order(name, id, this.told, look));
    this.screen = new Screen(id, (eventId) => this.chosen(eventId));
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
      askJson(`api/monitors/${this.id}`),
      askJson(`api/monitors/${this.id}/why`),
      askJson(`api/events?monitor=${this.id}&limit=12`),
    ]);
    this.show(monitor, why, events);
  }

  update() {}

  show(monitor, why, events) {
    say(this.title, named(this.id));
    say(this.state, monitor.mark ? `${monitor.state}, not recording` : monitor.state);
    this.state.className = `state ${monitor.mark ?? monitor.state}`;
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
      else this.events.set(event.id, new Recording(event, (wanted) => this.screen.clip(wanted)));
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
      const told = await askJson(`api/monitors/${this.id}/pipeline`);
      say(this.text, [...told.warnings.map((warning) => `! ${warning}`), JSON.stringify(told.document, null, 2)].join("\n"));
    } catch (error) {
      say(this.text, error.message);
    }
  }

  chosen(eventId) {
    for (const [id, { button }] of this.events) button.setAttribute("aria-pressed", String(id === eventId));
  }

  close() {
    this.screen.close();
  }
}
