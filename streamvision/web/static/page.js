// The operators' page. It asks the daemon that served it and nobody else, and writes text only as text.
import { connect, startEvents, stopEvents } from "./events.js";
import { STATES, short, span } from "./words.js";

const STREAMS_EVERY_MS = 1000;
const HEALTH_EVERY_MS = 5000;
const PATIENCE_MS = 5000;
// A browser opens six connections to one server: two stay free for the API and one for the events.
const PICTURES_AT_ONCE = 3;
const PICTURE_EVERY_MS = 200;
const STALE_S = 3;

const byId = (id) => document.getElementById(id);
const grid = byId("grid");
const large = byId("large");
const largePicture = byId("large-picture");
const cards = new Map();
let token = takeToken();
let reachable = true;
let locked = false;
let loading = 0;
let enlarged = null;

// -- talking to the daemon ------------------------------------------------------------------------------------

function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname);
  }
  return given || sessionStorage.getItem("token") || "";
}

async function ask(path, patience = PATIENCE_MS) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(patience) });
  if (answer.status === 401) lock();
  return answer;
}

function withToken(path, parameters) {
  const query = new URLSearchParams(parameters);
  if (token) query.set("token", token);
  return `${path}?${query}`;
}

function lock() {
  if (!locked) {
    locked = true;
    byId("token-form").hidden = false;
    byId("main").hidden = true;
    byId("summary").textContent = "";
    byId("token-wrong").textContent = token ? "That token is not accepted." : "";
    byId("token").focus();
    stopEvents();
  }
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  sessionStorage.setItem("token", token);
  locked = false;
  byId("token-form").hidden = true;
  byId("main").hidden = false;
  refresh();
  startEvents();
});

function every(period, task) {
  const turn = async () => {
    if (!document.hidden && !locked) await task();
    setTimeout(turn, period);
  };
  turn();
}

// -- words ----------------------------------------------------------------------------------------------------

function setFigure(cell, number, unit, alarm = false) {
  cell.replaceChildren(number, " ");
  if (unit) {
    const small = document.createElement("small");
    small.textContent = unit;
    cell.append(small);
  }
  cell.classList.toggle("alarm", alarm);
}

function setPill(pill, state) {
  if (pill.dataset.state === state) return;
  const [level, icon, word] = STATES[state] || ["idle", "?", state];
  const mark = document.createElement("span");
  mark.className = "icon";
  mark.setAttribute("aria-hidden", "true");
  mark.textContent = icon;
  pill.dataset.state = state;
  pill.dataset.level = level;
  pill.replaceChildren(mark, word);
}

// -- streams --------------------------------------------------------------------------------------------------

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const card = cards.get(entry.target.dataset.stream);
    if (card) card.visible = entry.isIntersecting;
  }
  feed();
});

function addCard(status) {
  const element = byId("card-template").content.firstElementChild.cloneNode(true);
  const find = (selector) => element.querySelector(selector);
  const cells = {};
  for (const cell of element.querySelectorAll("[data-name]")) cells[cell.dataset.name] = cell;
  const card = {
    element, cells, image: find("img"), note: find(".note"), pill: find(".pill"), cause: find(".cause"),
    button: find(".picture"), status, visible: false, loading: false, nextMs: 0, shownMs: 0, url: "",
  };
  element.dataset.stream = status.id;
  find("h3").textContent = status.id;
  find("h3").id = `stream-${cards.size}`;
  element.setAttribute("aria-labelledby", find("h3").id);
  card.button.setAttribute("aria-label", `Enlarge the live picture of ${status.id}`);
  card.button.addEventListener("click", () => enlarge(card));
  cards.set(status.id, card);
  grid.append(element);
  watcher.observe(element);
  const option = document.createElement("option");
  option.value = option.textContent = status.id;
  byId("events-stream").append(option);
  return card;
}

function dropCard(id) {
  const card = cards.get(id);
  watcher.unobserve(card.element);
  card.element.remove();
  URL.revokeObjectURL(card.url);
  cards.delete(id);
  for (const option of byId("events-stream").options) if (option.value === id) option.remove();
}

// A quiet scene is not analysed all the time, and a slow stream seldom; old is what nothing follows any more.
function stale(status) {
  const silent = status.decoded_fps === 0 && status.frame_age_s !== null && status.frame_age_s > STALE_S;
  return status.state !== "live" || silent;
}

function noteOf(status, hasPicture) {
  if (!reachable) return "daemon unreachable";
  if (!stale(status)) return hasPicture ? "" : "waiting for a picture";
  if (status.frame_age_s === null) return "no picture yet";
  return `no picture for ${span(status.frame_age_s)}`;
}

function update(card, status) {
  card.status = status;
  setPill(card.pill, status.state);
  card.pill.title = `for ${span(status.since_s)}`;
  const cause = status.state === "live" ? status.cause : `${status.cause || "no cause known"}, for ${span(status.since_s)}`;
  card.cause.hidden = !cause;
  card.cause.textContent = cause;
  setFigure(card.cells.analysed, status.analysed_fps.toFixed(1), "/s");
  setFigure(card.cells.decoded, status.decoded_fps.toFixed(1), "/s");
  const age = status.frame_age_s;
  setFigure(card.cells.age, ...(age === null ? ["–", ""] : span(age).split(" ")), stale(status));
  setFigure(card.cells.dropped, short(status.counts.dropped), "");
  const seen = Object.entries(status.tracks).filter(([, count]) => count > 0);
  card.cells.seen.textContent = seen.map(([name, count]) => `${name} ×${count}`).join(", ") || "nothing in sight";
  const size = status.size_wh ? `${status.size_wh[0]} × ${status.size_wh[1]}` : "size unknown";
  card.cells.source.textContent = `${size} · ${status.model}`;
  card.cells.source.title = status.url;
  showNote(card);
}

function showNote(card) {
  const old = stale(card.status) || !reachable;
  card.element.classList.toggle("stale", old);
  card.note.textContent = noteOf(card.status, Boolean(card.url));
  if (enlarged === card) {
    setPill(byId("large-pill"), card.status.state);
    byId("large-note").hidden = !old;
    byId("large-note").textContent = old ? card.note.textContent : "";
    document.querySelector(".large-frame").classList.toggle("stale", old);
  }
}

function showStreams(statuses) {
  const present = new Set(statuses.map((status) => status.id));
  for (const id of [...cards.keys()]) if (!present.has(id)) dropCard(id);
  for (const status of statuses) update(cards.get(status.id) || addCard(status), status);
  const live = statuses.filter((status) => status.state === "live").length;
  const summary = statuses.length ? `${live} of ${statuses.length} live` : "";
  if (byId("summary").textContent !== summary) byId("summary").textContent = summary;
  byId("no-streams").hidden = statuses.length > 0;
  feed();
}

function setReachable(now) {
  if (now === reachable) return;
  reachable = now;
  byId("banner").hidden = now;
  byId("banner").textContent = now ? "" : "Daemon unreachable. What you see is old; trying again every second.";
  for (const card of cards.values()) showNote(card);
  if (now) {
    startEvents();
    if (enlarged) watchLarge(enlarged);
    checkHealth();
  } else {
    setHealth("bad", "unreachable");
  }
}

async function refresh() {
  try {
    const answer = await ask("/api/v1/streams");
    if (answer.ok) {
      const statuses = await answer.json();
      setReachable(true);
      showStreams(statuses);
    }
  } catch {
    setReachable(false);
  }
}

function setHealth(level, text) {
  byId("health").dataset.level = level;
  byId("health").firstElementChild.textContent = text;
}

async function checkHealth() {
  if (!reachable) return;
  try {
    const [health, ready] = await Promise.all([ask("/healthz"), ask("/readyz")]);
    const silent = (await health.json()).silent;
    const body = await ready.json();
    const failed = Object.entries(body.models).filter(([, model]) => model.state === "failed").map(([name]) => name);
    if (silent.length) setHealth("bad", `silent: ${silent.join(", ")}`);
    else if (failed.length) setHealth("bad", `engine failed: ${failed.join(", ")}`);
    else if (body.store !== "ok") setHealth("bad", `event store: ${body.store}`);
    else if (!ready.ok) setHealth("wait", "engines loading");
    else setHealth("good", "healthy");
    const engines = Object.entries(body.models).map(
      ([name, model]) => `${name}: ${[model.description || model.state, model.detail].filter(Boolean).join("; ")}`,
    );
    byId("health").title = engines.join("\n");
  } catch {
    setHealth("bad", "unreachable");
  }
}

// -- pictures -------------------------------------------------------------------------------------------------
// The grid asks for single pictures in turn, so that any number of cards shares three connections; the enlarged
// picture is one endless answer.

function nextCard(now) {
  let best = null;
  for (const card of cards.values()) {
    const due = card.visible && !card.loading && card.nextMs <= now && card.status.state === "live";
    if (due && (!best || card.shownMs < best.shownMs)) best = card;
  }
  return best;
}

function feed() {
  if (document.hidden || enlarged || !reachable || locked) return;
  while (loading < PICTURES_AT_ONCE) {
    const card = nextCard(performance.now());
    if (!card) return;
    load(card);
  }
}

async function load(card) {
  card.loading = true;
  loading += 1;
  const started = performance.now();
  let pause = 2000;
  try {
    const width = Math.min(960, Math.ceil(card.button.clientWidth * Math.min(devicePixelRatio, 2)));
    const path = `/api/v1/streams/${encodeURIComponent(card.status.id)}/snapshot.jpg`;
    const answer = await ask(`${path}?width=${Math.max(160, width)}&wait=2`);
    if (answer.ok) {
      await show(card, await answer.blob());
      pause = PICTURE_EVERY_MS;
    }
  } catch {
    // The next poll of the streams tells what is wrong.
  } finally {
    card.loading = false;
    loading -= 1;
    card.shownMs = performance.now();
    card.nextMs = started + pause;
    feed();
  }
}

async function show(card, blob) {
  const old = card.url;
  card.url = URL.createObjectURL(blob);
  card.image.src = card.url;
  card.image.alt = `Live picture of ${card.status.id}`;
  await card.image.decode().catch(() => {});
  card.image.hidden = false;
  if (old) URL.revokeObjectURL(old);
  showNote(card);
}

function watchLarge(card) {
  const width = Math.max(160, Math.min(1920, Math.ceil(large.clientWidth * devicePixelRatio)));
  const path = `/live/${encodeURIComponent(card.status.id)}`;
  largePicture.src = withToken(path, { width, again: Date.now() });
}

function enlarge(card) {
  enlarged = card;
  byId("large-title").textContent = card.status.id;
  largePicture.alt = `Live picture of ${card.status.id}, enlarged`;
  if (card.status.size_wh) {
    document.querySelector(".large-frame").style.aspectRatio = card.status.size_wh.join(" / ");
  }
  large.showModal();
  watchLarge(card);
  showNote(card);
}

large.addEventListener("close", () => {
  enlarged = null;
  largePicture.removeAttribute("src");
  feed();
});
large.addEventListener("click", (event) => {
  if (event.target === large) large.close();
});
byId("large-close").addEventListener("click", () => large.close());

// -- life -----------------------------------------------------------------------------------------------------

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stopEvents();
    largePicture.removeAttribute("src");
  } else if (!locked) {
    refresh();
    startEvents();
    if (enlarged) watchLarge(enlarged);
  }
});

connect({ ask, withToken, locked: () => locked });
every(STREAMS_EVERY_MS, refresh);
every(HEALTH_EVERY_MS, checkHealth);
setInterval(feed, 100);
startEvents();
