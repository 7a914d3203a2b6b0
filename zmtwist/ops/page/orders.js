// What an operator may order of one monitor.

import { lively } from "./cameras.js";
import { make, say } from "./parts.js";
import { askJson } from "./service.js";

const SURE_MS = 4000;

export const ORDERS = {
  start: { label: "Start", can: (m) => !lively(m) && m.state !== "STARTING" },
  stop: { label: "Stop", can: (m) => m.state !== "HELD" && m.state !== "STOPPED", sure: "This ends the recording: press again to stop." },
  restart: { label: "Restart", can: lively, sure: "This ends the recording for a moment: press again to restart." },
  reload: { label: "Reload", can: () => true },
  hold: { label: "Hold", can: (m) => m.state !== "HELD", sure: "This ends the recording: press again to hold." },
  release: { label: "Release", can: (m) => m.state === "HELD" },
};

export class Order {
  /** `told` shows what became of it; `after` is called then. */
  constructor(name, id, told, after) {
    this.told = told;
    this.after = after;
    this.path = `api/monitors/${id}/${name}`;
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
    this.after();
  }

  calm() {
    clearTimeout(this.timer);
    this.element.classList.remove("sure");
    say(this.element, this.label);
  }
}
