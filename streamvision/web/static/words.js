// What the page says, in words: pure functions, no page and no daemon.
export const STATES = {
  live: ["good", "●", "live"],
  connecting: ["wait", "◌", "connecting"],
  stalled: ["warn", "❚❚", "stalled"],
  backing_off: ["warn", "↻", "reconnecting"],
  auth_failed: ["bad", "✕", "wrong credentials"],
  stopped: ["idle", "■", "stopped"],
};

export const PHASES = { start: "▶", update: "…", end: "■", instant: "◆" };

export function span(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

export function short(count) {
  if (count < 10000) return String(count);
  return count < 1e6 ? `${(count / 1e3).toFixed(1)}k` : `${(count / 1e6).toFixed(1)}M`;
}

export function describe(event) {
  const data = event.data;
  const [kind, phase] = event.type.split(".").slice(1);
  const who = data.track ? `${data.track.class} ${data.track.id}` : "";
  const where = data.zone || data.line || "";
  const verbs = {
    "zone.start": `${who} entered ${where}`, "zone.update": `${who} is in ${where}`,
    "zone.end": data.reason && data.reason !== "left" ? `${who} last seen in ${where}` : `${who} left ${where}`,
    "line.instant": `${who} crossed ${where}`, "outage.start": "camera lost", "outage.end": "camera is back",
  };
  const { dwell_s, outage_s } = data.evidence || {};
  const lasted = dwell_s ?? outage_s;
  const detail = [
    data.direction && String(data.direction).replaceAll("_", " "),
    phase === "end" && typeof lasted === "number" && `after ${span(lasted)}`,
    data.cause && String(data.cause),
  ];
  const what = verbs[`${kind}.${phase}`] || [kind, phase === "instant" ? "" : phase, who].filter(Boolean).join(" ");
  return { what: [what, ...detail].filter(Boolean).join(", "), where: [data.stream, data.rule].filter(Boolean).join(" · "), kind, phase };
}
