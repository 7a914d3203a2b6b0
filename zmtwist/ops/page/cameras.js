// The monitors, as last read, and what is said of one wherever it is shown.

const SHOWING = ["LINKED", "LIVE", "STALLED"];
let known = new Map();

/** These are the monitors from now on. */
export function learn(monitors) {
  known = new Map(monitors.map((monitor) => [monitor.id, monitor]));
}

export const camera = (id) => known.get(id);
export const named = (id) => known.get(id)?.name || `Monitor ${id}`;
export const lively = (monitor) => SHOWING.includes(monitor.state);
export const records = (monitor) => lively(monitor) && monitor.last_event?.open === true;
export const rate = (monitor) => (monitor.capture_fps == null ? "–" : `${monitor.capture_fps.toFixed(1)} fps`);
