// Pictures of events: fetched with the token, shown from memory, kept for as long as they may be seen again.

import { make } from "./parts.js";
import { ask } from "./service.js";

const FIRST_MS = 3000;
const MOST_WAIT_MS = 120000;
const pictures = new Map();
const MOST_PICTURES = 150;

/** The picture that tells most of an event: its best frame, else its first. Null where there is none, or none yet. */
async function picture(eventId) {
  if (!pictures.has(eventId)) {
    let response = await ask(`api/events/${eventId}/alarm.jpg`);
    if (response.status === 204) response = await ask(`api/events/${eventId}/snapshot.jpg`);
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
export class Thumb {
  constructor() {
    this.element = make("span", { class: "thumb" }, "no picture");
    this.eventId = null;
  }

  async show(eventId) {
    if (eventId == null) return;
    if (this.eventId !== eventId) Object.assign(this, { eventId, shown: false, next: 0, wait: FIRST_MS });
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
