"use strict";
// The page: reads the API, listens to the stream, draws. Data of the device is never inserted as HTML.

const $ = (id) => document.getElementById(id);
const views = new Map();
let features = { cameras: [], pictures: false };
let stream = null;
// True once the service has announced its end, until the stream opens again.
let ended = false;
let oldest = null;

const element = (name, text, className) => {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
};

async function request(path, options) {
  const response = await fetch(path, { credentials: "same-origin", ...options });
  if (response.status === 401) { showLogin(); throw new Error("not logged in"); }
  return response;
}

async function json(path) {
  const response = await request(path);
  return response.ok ? response.json() : null;
}

const number = (value, digits) => (typeof value === "number" && isFinite(value) ? value.toFixed(digits) : "–");
const time = (text) => { const at = new Date(text); return isNaN(at) ? "" : at.toLocaleString(); };
const colour = (id) => `hsl(${(id * 137.508) % 360} 85% 62%)`;

function showLogin() {
  if (stream) { stream.close(); stream = null; }
  $("login").hidden = false;
  $("state").textContent = "log in";
  $("token").focus();
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("login-error").textContent = "";
  const response = await fetch("login", {
    method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token: $("token").value }),
  });
  if (!response.ok) {
    const tooMany = response.status === 429;
    $("login-error").textContent = tooMany ? "Too many wrong tokens: wait, then try again." : "The token is wrong.";
    return;
  }
  $("token").value = "";
  $("login").hidden = true;
  begin();
});

class View {
  constructor(name) {
    this.name = name;
    this.reports = [];
    this.picture = null;
    this.fetching = false;
    this.node = element("article", undefined, "camera");
    const head = element("h2", name);
    this.state = element("span", "", "pill");
    this.numbers = element("span", "", "numbers");
    head.append(this.state, this.numbers);
    this.canvas = element("canvas", undefined, "view");
    this.canvas.width = 960; this.canvas.height = 540;
    this.canvas.setAttribute("aria-label", `live view of ${name}`);
    const pen = this.canvas.getContext("2d");
    pen.fillStyle = "#8b98a3"; pen.font = "28px system-ui, sans-serif"; pen.fillText("no frame yet", 30, 60);
    this.counts = element("ul", undefined, "counts");
    const plots = element("div", undefined, "plots");
    this.fps = this.plot(plots, "frames a second");
    this.latency = this.plot(plots, "latency, ms: capture to report (orange), network (blue)");
    this.node.append(head, this.canvas, this.counts, plots);
    $("cameras").append(this.node);
  }

  plot(parent, caption) {
    const figure = element("figure");
    const canvas = element("canvas", undefined, "plot");
    figure.append(canvas, element("figcaption", caption));
    parent.append(figure);
    return canvas;
  }

  report(report) {
    this.reports.push(report);
    if (this.reports.length > 30) this.reports.shift();
    this.numbers.textContent = `frame ${report.sequence} · ${number(report.timing_ms.detect, 0)} ms · ${report.width}×${report.height}`;
    this.counts.replaceChildren(...Object.entries(report.objects || {}).sort().map(([label, count]) => {
      const item = element("li", `${label} `);
      item.append(element("b", count));
      return item;
    }));
    if (features.pictures) this.load(); else this.draw(report, null);
  }

  async load() {
    if (this.fetching || document.hidden) return;
    this.fetching = true;
    try {
      const response = await request(`api/v1/cameras/${encodeURIComponent(this.name)}/picture?width=960`);
      if (response.ok) {
        const sequence = Number(response.headers.get("X-Lookout-Sequence"));
        const picture = await createImageBitmap(await response.blob());
        if (this.picture) this.picture.close();
        this.picture = picture;
        const report = this.reports.findLast((report) => report.sequence === sequence);
        if (report) this.draw(report, picture);
      }
    } catch (error) { console.debug(error); }
    // At most about ten pictures a second.
    setTimeout(() => { this.fetching = false; }, 100);
  }

  draw(report, picture) {
    const canvas = this.canvas;
    const width = Math.min(960, report.width), height = Math.round(width * report.height / report.width);
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const pen = canvas.getContext("2d");
    const scale = width / report.width;
    if (picture) pen.drawImage(picture, 0, 0, width, height);
    else {
      pen.fillStyle = "#101418"; pen.fillRect(0, 0, width, height);
      pen.fillStyle = "#55606a"; pen.font = "14px system-ui, sans-serif"; pen.fillText("pictures are off", 10, height - 12);
    }
    // Text has the same size on every screen, however the canvas is scaled.
    const letters = Math.round(12 * width / (canvas.clientWidth || width)), high = letters + 4;
    pen.font = `600 ${letters}px system-ui, sans-serif`; pen.lineWidth = 2.5; pen.textBaseline = "top";
    const shown = report.detections.filter((found) => found.score >= 0.3), tags = [];
    for (const found of shown) {
      const [x0, y0, x1, y1] = found.box.map((edge) => edge * scale);
      pen.globalAlpha = found.score < 0.5 ? 0.5 : 1;
      pen.strokeStyle = colour(found.class_id); pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
      const text = `${found.label} ${found.score.toFixed(2)}${found.track === undefined ? "" : ` #${found.track}`}`;
      const long = pen.measureText(text).width + 6;
      const left = Math.max(0, Math.min(x0, width - long));
      // Above the box, below it or inside it; without a free place the box has no label.
      const free = [y0 - high, y1, y0].find((top) => top >= 0 && top + high <= height
        && tags.every((tag) => left + long < tag.left || tag.left + tag.long < left || top + high < tag.top || tag.top + high < top));
      if (free !== undefined) tags.push({ left, long, top: free, text, ink: colour(found.class_id) });
    }
    pen.globalAlpha = 0.85;
    for (const { left, long, top, text, ink } of tags) {
      pen.fillStyle = ink; pen.fillRect(left, top, long, high);
      pen.fillStyle = "#000"; pen.fillText(text, left + 3, top + 2);
    }
    pen.globalAlpha = 1;
    canvas.dataset.sequence = report.sequence;
    canvas.dataset.boxes = JSON.stringify(shown.map((found) => found.box));
  }

  series(points) {
    lines(this.fps, [[points.map((point) => point.fps), "--a"]], 1);
    lines(this.latency, [[points.map((point) => point.total_ms), "--b"], [points.map((point) => point.detect_ms), "--a"]], 0);
  }
}

function lines(canvas, series, digits) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  canvas.width = width * ratio; canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const style = getComputedStyle(document.documentElement);
  const most = Math.max(...series.flatMap(([values]) => values), 0);
  const top = most > 0 ? most * 1.15 : 1;
  pen.strokeStyle = style.getPropertyValue("--line"); pen.lineWidth = 1;
  pen.beginPath(); pen.moveTo(0, height - .5); pen.lineTo(width, height - .5); pen.moveTo(0, .5); pen.lineTo(width, .5); pen.stroke();
  for (const [values, ink] of series) {
    pen.strokeStyle = style.getPropertyValue(ink); pen.lineWidth = 1.8; pen.beginPath();
    values.forEach((value, index) => {
      const x = values.length < 2 ? width : (index / (values.length - 1)) * width;
      const y = height - (value / top) * (height - 4) - 1;
      if (index) pen.lineTo(x, y); else pen.moveTo(x, y);
    });
    pen.stroke();
  }
  pen.fillStyle = style.getPropertyValue("--faint"); pen.font = "11px system-ui, sans-serif"; pen.textBaseline = "top";
  pen.fillText(number(top, digits), 2, 3);
  const last = series.map(([values]) => number(values.at(-1), digits)).join(" / ");
  pen.textAlign = "right"; pen.fillText(last, width - 2, 3);
}

function showStatus(status) {
  if (!status) return;
  $("device").textContent = status.device;
  $("state").textContent = status.state;
  $("state").className = `pill ${status.state}`;
  $("model").textContent = status.model ? `${status.model.name} · ${status.model.precision} · generation ${status.model.generation}` : "";
  $("reasons").replaceChildren(...status.reasons.map((reason) => element("li", reason)));
  $("reasons").hidden = status.reasons.length === 0;
  for (const [name, camera] of Object.entries(status.cameras)) {
    const view = views.get(name);
    if (!view) continue;
    view.state.textContent = camera.state;
    view.state.className = `pill ${camera.state}`;
    view.state.title = camera.last_error ? `${time(camera.last_error.at)}: ${camera.last_error.error}` : "";
  }
  if (status.drift) {
    $("drift").hidden = false;
    const drift = status.drift;
    $("drift-summary").textContent = `${drift.verdict ?? ""} · worst ${drift.worst ?? "–"}, ${number(drift.deviations, 2)} deviations`
      + (drift.agreement === null || drift.agreement === undefined ? "" : ` · detections agree ${number(drift.agreement * 100, 1)} %`);
  }
}

function describe(message) {
  if (message.event === "object.new") return `${message.label} ${number(message.score, 2)}`;
  if (message.event === "object.end") return `${message.label}, ${number(message.duration_s, 1)} s, best ${number(message.best_score, 2)}`;
  return message.error || message.reason || (message.steps || []).join(", ");
}

function eventNode({ key, thumbnail, message }) {
  const item = element("li");
  item.dataset.key = key ?? "";
  if (thumbnail && features.pictures) {
    const picture = element("img");
    picture.loading = "lazy"; picture.alt = message.label || ""; picture.src = `api/v1/events/${key}/thumbnail`;
    item.append(picture);
  }
  const text = element("div");
  text.append(element("b", message.event), element("span", ` ${describe(message) ?? ""}`),
    element("small", [message.camera, time(message.at)].filter(Boolean).join(" · ")));
  item.append(text);
  return item;
}

async function loadEvents(older) {
  if (!features.events) { if (!$("event-list").children.length) $("event-list").append(element("li", "no history is kept; new events appear here", "empty")); return; }
  const page = await json(`api/v1/events?limit=24${older && oldest ? `&before=${oldest}` : ""}`);
  if (!page) return;
  const nodes = page.events.map(eventNode);
  if (older) $("event-list").append(...nodes); else $("event-list").replaceChildren(...nodes);
  oldest = page.next;
  $("more").hidden = oldest === null;
}

let eventTimer = null;
function addEvent(message) {
  if (features.events) {
    // The store needs a moment; many events are one reload.
    if (!eventTimer) eventTimer = setTimeout(() => { eventTimer = null; loadEvents(false).catch(console.debug); }, 1200);
    return;
  }
  const list = $("event-list");
  list.querySelectorAll(".empty").forEach((node) => node.remove());
  list.prepend(eventNode({ message }));
  while (list.children.length > 48) list.lastChild.remove();
}

async function loadDrift() {
  if (!features.drift) return;
  const rows = await json("api/v1/drift");
  if (Array.isArray(rows) && rows.length) {
    $("drift").hidden = false;
    $("drift-steps").replaceChildren(...rows.slice().sort((a, b) => (b.deviations ?? -1) - (a.deviations ?? -1)).map((row) => {
      const line = element("tr");
      line.append(element("td", row.step), element("td", number(row.sqnr_db, 1)), element("td", number(row.calibrated_db, 1)),
        element("td", row.clipped === null || row.clipped === undefined ? "–" : row.clipped.toExponential(1)), element("td", number(row.deviations, 2)));
      return line;
    }));
  }
  if (features.maps) {
    const names = await json("api/v1/drift/maps");
    $("maps").replaceChildren(...(names || []).map((name) => {
      const figure = element("figure");
      const picture = element("img");
      picture.alt = `error of ${name}`; picture.src = `api/v1/drift/maps/${encodeURIComponent(name)}?${Date.now()}`;
      figure.append(picture, element("figcaption", `${name}: |int8 − fp32|`));
      return figure;
    }));
  }
}

async function loadGenerations() {
  if (!features.generations) return;
  const list = await json("api/v1/generations");
  $("generations").hidden = false;
  $("recalibrate").hidden = !features.recalibrate;
  const entries = Array.isArray(list) ? list : (list && list.generations) || [];
  $("generation-list").replaceChildren(...entries.slice().reverse().map((entry) => {
    const line = element("tr");
    const state = ["serving", "on_trial", "pinned", "rolled_back"].filter((word) => entry[word]).map((word) => word.replace("_", " "));
    line.append(element("td", entry.generation), element("td", entry.at ? time(entry.at) : "–"), element("td", entry.why ?? ""), element("td", state.join(", ")));
    return line;
  }));
}

async function sendCommand(button, path, question) {
  if (!window.confirm(question)) return;
  button.disabled = true;
  try {
    const response = await request(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
    const answer = await response.json();
    $("command-result").textContent = response.ok ? "done" : answer.error;
  } catch (error) { $("command-result").textContent = String(error); }
  button.disabled = false;
  loadGenerations().catch(console.debug);
}
$("rollback").addEventListener("click", (event) => sendCommand(event.target, "api/v1/generations/rollback", "Go back to the model before?"));
$("recalibrate").addEventListener("click", (event) => sendCommand(event.target, "api/v1/recalibrate", "Recalibrate now?"));
$("more").addEventListener("click", () => loadEvents(true).catch(console.debug));

async function refresh() {
  if (document.hidden || !stream) return;
  try {
    showStatus(await json("api/v1/status"));
    const series = await json("api/v1/series");
    for (const [name, points] of Object.entries(series || {})) views.get(name)?.series(points);
  } catch (error) { console.debug(error); }
}

async function begin() {
  features = await json("api/v1/features");
  if (!features) return;
  for (const name of features.cameras) if (!views.has(name)) views.set(name, new View(name));
  if (stream) stream.close();
  stream = new EventSource("api/v1/stream");
  stream.addEventListener("report", (event) => { const report = JSON.parse(event.data); views.get(report.camera)?.report(report); });
  stream.addEventListener("status", (event) => showStatus(JSON.parse(event.data)));
  stream.addEventListener("event", (event) => addEvent(JSON.parse(event.data)));
  const showLost = () => { $("state").textContent = ended ? "stopped" : "no connection"; $("state").className = "pill lost"; };
  stream.addEventListener("end", () => { ended = true; showLost(); });
  stream.addEventListener("error", showLost);
  stream.addEventListener("open", () => { ended = false; refresh(); });
  for (const name of features.cameras) {
    const report = await json(`api/v1/cameras/${encodeURIComponent(name)}/report`);
    if (report) views.get(name)?.report(report);
  }
  await Promise.allSettled([refresh(), loadEvents(false), loadDrift(), loadGenerations()]);
}

setInterval(refresh, 2000);
setInterval(async () => {
  if (!stream || document.hidden) return;
  // The monitor may come later, cameras with another configuration.
  const now = await json("api/v1/features").catch(() => null);
  if (now) { features = now; for (const name of now.cameras) if (!views.has(name)) views.set(name, new View(name)); }
  Promise.allSettled([loadDrift(), loadGenerations()]);
}, 15000);
begin().catch(console.debug);
