// The list of events: the last ones first, then each as it happens.
import { PHASES, describe } from "./words.js";

const SHOWN = 100;
const POLL_MS = 3000;

const byId = (id) => document.getElementById(id);
const list = byId("event-list");
const shown = new Set();
let daemon = null;
let position = 0;
let source = null;
let timer = 0;
let round = 0;

/** `connection` has `ask(path)`, `withToken(path, parameters)` and `locked()`. */
export function connect(connection) {
  daemon = connection;
}

function addEvent(event, fresh) {
  if (shown.has(event.id)) return;
  shown.add(event.id);
  const element = byId("event-template").content.firstElementChild.cloneNode(true);
  const { what, where, kind, phase } = describe(event);
  const when = new Date(event.time);
  Object.assign(element.dataset, { event: event.id, kind, phase });
  element.classList.toggle("fresh", fresh);
  element.querySelector(".mark-phase").textContent = PHASES[phase] || "•";
  element.querySelector(".event-what").textContent = what;
  element.querySelector(".event-where").textContent = where;
  const time = element.querySelector("time");
  time.dateTime = event.time;
  const today = when.toDateString() === new Date().toDateString();
  time.textContent = when.toLocaleTimeString([], { hour12: false });
  if (!today) time.textContent = `${when.toLocaleDateString([], { month: "short", day: "numeric" })} ${time.textContent}`;
  time.title = event.time;
  list.prepend(element);
  while (list.childElementCount > SHOWN) {
    shown.delete(list.lastElementChild.dataset.event);
    list.lastElementChild.remove();
  }
  byId("no-events").hidden = true;
}

function setEventsLive(on) {
  byId("events-live").classList.toggle("on", on);
  byId("events-live").title = byId("events-live-text").textContent = on ? "as they happen" : "not connected";
}

function filter() {
  const stream = byId("events-stream").value;
  return stream ? { stream } : {};
}

export function stopEvents() {
  round += 1;
  clearTimeout(timer);
  if (source) source.close();
  source = null;
  setEventsLive(false);
}

export async function startEvents() {
  stopEvents();
  const mine = round;
  try {
    const answer = await daemon.ask(`/api/v1/events?${new URLSearchParams({ limit: 50, ...filter() })}`);
    if (!answer.ok) throw new Error(answer.statusText);
    const events = await answer.json();
    if (mine !== round) return;
    position = Number(answer.headers.get("Streamvision-Position"));
    for (const event of events.reverse()) addEvent(event, false);
    byId("no-events").hidden = list.childElementCount > 0;
    listen();
  } catch {
    if (mine === round && !daemon.locked()) timer = setTimeout(startEvents, POLL_MS);
  }
}

function listen() {
  source = new EventSource(daemon.withToken("/api/v1/events/stream", { after: position, ...filter() }));
  source.addEventListener("open", () => {
    clearTimeout(timer);
    setEventsLive(true);
  });
  source.addEventListener("event", (message) => {
    position = Number(message.lastEventId);
    addEvent(JSON.parse(message.data), true);
  });
  source.addEventListener("error", () => {
    setEventsLive(false);
    clearTimeout(timer);
    timer = setTimeout(pollEvents, POLL_MS);
  });
}

// Where a proxy cuts long answers, the page asks instead; it goes on listening as soon as that works again.
async function pollEvents() {
  const mine = round;
  try {
    const answer = await daemon.ask(`/api/v1/events?${new URLSearchParams({ after: position, ...filter() })}`);
    if (answer.ok && mine === round) {
      position = Number(answer.headers.get("Streamvision-Position"));
      for (const event of await answer.json()) addEvent(event, true);
    }
  } catch {
    // Unreachable; the banner says so.
  }
  if (mine !== round || daemon.locked()) return;
  if (source && source.readyState === EventSource.CLOSED) listen();
  else if (!source || source.readyState !== EventSource.OPEN) timer = setTimeout(pollEvents, POLL_MS);
}

byId("events-stream").addEventListener("change", () => {
  list.replaceChildren();
  shown.clear();
  startEvents();
});
