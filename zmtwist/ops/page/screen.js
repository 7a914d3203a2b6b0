// The place where pictures move.

import { camera, lively } from "./cameras.js";
import { make, say } from "./parts.js";
import { askJson, pause, showLive, showRecording } from "./service.js";

/** The picture of one monitor: live, or a clip, or a word on why there is nothing to see. */
export class Screen {
  /** `chosen` is told which event is on the screen, null for none. */
  constructor(id, chosen) {
    this.id = id;
    this.chosen = chosen;
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
    this.chosen(null);
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
        await showLive(this.video, `api/monitors/${this.id}/live.mp4`, stopped.signal);
        // It has ended, as it does when the camera's worker is started anew: wait until there is something to see again.
        say(this.note, "The camera gives no picture now; it is shown again as soon as it does.");
        this.video.hidden = true;
        do await pause(1000, stopped.signal);
        while (!lively(camera(this.id) ?? {}));
      }
    } catch (error) {
      if (!stopped.signal.aborted) this.rest(error.message);
    }
  }

  async clip(event, at = 0) {
    this.rest(`Event ${event.id} is on its way.`);
    this.eventId = event.id;
    this.chosen(event.id);
    try {
      const ticket = (await askJson(`api/events/${event.id}/ticket`)).url.split("?")[1];
      const url = `api/events/${event.id}/clip?${ticket}`; // below where this page is, whatever a proxy calls that
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
      await showRecording(this.video, `api/events/${event.id}/clip.mp4`, stopped.signal);
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
