// Live: every camera with its boxes, the tails of its tracks, and its zones and lines.

import { $, colour, element, json, number, request, time } from "./util.js";
import { Plot } from "./plot.js";

// Seconds without a report after which a picture is stale, and frames of a tail.
const STALE_S = 3, TAIL = 30;

export class Live {
  constructor() {
    this.views = new Map();
    this.features = { cameras: [] };
    this.connected = false;
    setInterval(() => this.views.forEach((view) => view.age(this.connected)), 1000);
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") this.enlarge(null); });
  }

  setFeatures(features) {
    this.features = features;
    for (const name of features.cameras) {
      if (this.views.has(name)) continue;
      const view = new View(name, this);
      this.views.set(name, view);
      $("cameras").append(view.node);
    }
    for (const [name, view] of this.views) if (!features.cameras.includes(name)) { view.node.remove(); this.views.delete(name); }
  }

  setConnected(connected) {
    this.connected = connected;
    this.views.forEach((view) => view.age(connected));
  }

  report(report) { this.views.get(report.camera)?.report(report); }

  status(status) {
    for (const [name, camera] of Object.entries(status.cameras)) this.views.get(name)?.status(camera);
  }

  series(series) {
    for (const [name, points] of Object.entries(series || {})) this.views.get(name)?.series(points);
  }

  async latest() {
    for (const name of this.views.keys()) {
      const report = await json(`api/v1/cameras/${encodeURIComponent(name)}/report`);
      if (report) this.report(report);
    }
  }

  // The report of a frame, if it is one of the latest.
  find(camera, sequence) { return this.views.get(camera)?.reports.findLast((report) => report.sequence === sequence); }

  enlarge(name) {
    this.views.forEach((view) => view.large(view.name === name));
    $("cameras").classList.toggle("one", name !== null);
  }
}

class View {
  constructor(name, live) {
    Object.assign(this, { name, live, reports: [], picture: null, fetching: false, tails: new Map(), reported: null });
    this.node = element("article", undefined, "camera");
    const head = element("h2", name);
    this.state = element("span", "", "pill");
    this.numbers = element("span", "", "numbers");
    head.append(this.state, this.numbers);
    this.canvas = element("canvas", undefined, "view");
    this.canvas.width = 960; this.canvas.height = 540;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `live view of ${name}`);
    const pen = this.canvas.getContext("2d");
    pen.fillStyle = "#8b98a3"; pen.font = "28px system-ui, sans-serif"; pen.fillText("no frame yet", 30, 60);
    this.stale = element("p", "", "stale");
    this.stale.hidden = true;
    this.button = element("button", "Enlarge");
    this.button.type = "button";
    this.button.setAttribute("aria-label", `Enlarge ${name}`);
    this.button.addEventListener("click", () => this.live.enlarge(this.node.classList.contains("large") ? null : name));
    this.canvas.addEventListener("click", () => this.button.click());
    this.counts = element("ul", undefined, "counts");
    const plots = element("details", undefined, "plots");
    plots.append(element("summary", "Rate and latency"));
    this.fps = new Plot("Analysed frames a second", "1/s");
    this.latency = new Plot("Latency: from capture to report, and of the network alone", "ms");
    plots.append(this.fps.node, this.latency.node);
    const frame = element("div", undefined, "frame");
    frame.append(this.canvas, this.stale);
    this.node.append(head, frame, this.counts, this.button, plots);
  }

  large(large) {
    this.node.classList.toggle("large", large);
    this.button.textContent = large ? "All cameras" : "Enlarge";
  }

  status(camera) {
    this.state.textContent = camera.state;
    this.state.className = `pill ${camera.state}`;
    this.state.title = camera.last_error ? `${time(camera.last_error.at)}: ${camera.last_error.error}` : "";
  }

  // Greys the picture if it is not of now.
  age(connected) {
    const seconds = this.reported === null ? null : (performance.now() - this.reported) / 1000;
    const stale = !connected || (seconds !== null && seconds > STALE_S);
    this.node.classList.toggle("is-stale", stale);
    this.stale.hidden = !stale;
    this.stale.textContent = connected ? `no frame for ${Math.round(seconds)} s` : "no connection to the device";
  }

  report(report) {
    this.reported = performance.now();
    this.reports.push(report);
    if (this.reports.length > 30) this.reports.shift();
    this.age(this.live.connected);
    this.numbers.textContent = `frame ${report.sequence} · ${number(report.timing_ms.detect, 0)} ms · ${report.width}×${report.height}`;
    this.counts.replaceChildren(...Object.entries(report.objects || {}).sort().map(([label, count]) => {
      const item = element("li", `${label} `);
      item.append(element("b", count));
      return item;
    }));
    this.follow(report);
    if (this.live.features.pictures) this.load(); else this.draw(report, null);
  }

  // Extends the tails by the middle of each box's lower edge.
  follow(report) {
    const seen = new Set();
    for (const { track, box } of report.detections) {
      if (track === undefined) continue;
      seen.add(track);
      const tail = this.tails.get(track) ?? [];
      tail.push([(box[0] + box[2]) / 2, box[3]]);
      if (tail.length > TAIL) tail.shift();
      this.tails.set(track, tail);
    }
    for (const [track, tail] of this.tails) if (!seen.has(track)) { tail.shift(); if (!tail.length) this.tails.delete(track); }
  }

  async load() {
    if (this.fetching || document.hidden || !this.canvas.offsetParent) return;
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
      pen.fillStyle = "#8b98a3"; pen.font = "14px system-ui, sans-serif"; pen.fillText("pictures are off", 10, height - 12);
    }
    // Text has the same size on every screen, however the canvas is scaled.
    const letters = Math.round(12 * width / (canvas.clientWidth || width)), high = letters + 4;
    pen.font = `600 ${letters}px system-ui, sans-serif`; pen.textBaseline = "top";
    this.regions(pen, width, height, letters);
    pen.lineWidth = 2.5;
    const shown = report.detections.filter((found) => found.score >= 0.3), tags = [];
    for (const found of shown) {
      const [x0, y0, x1, y1] = found.box.map((edge) => edge * scale);
      pen.globalAlpha = found.score < 0.5 ? 0.5 : 1;
      pen.strokeStyle = colour(found.class_id); pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
      const tail = this.tails.get(found.track);
      if (tail && tail.length > 1) {
        pen.beginPath();
        tail.forEach(([x, y], index) => (index ? pen.lineTo(x * scale, y * scale) : pen.moveTo(x * scale, y * scale)));
        pen.stroke();
      }
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

  // Draws zones and lines of the configuration.
  regions(pen, width, height, letters) {
    const regions = (this.live.features.regions || {})[this.name] || {};
    const outline = (points, closed) => {
      pen.beginPath();
      points.forEach(([x, y], index) => (index ? pen.lineTo(x * width, y * height) : pen.moveTo(x * width, y * height)));
      if (closed) pen.closePath();
    };
    const label = (name, [x, y]) => {
      const long = pen.measureText(name).width + 6;
      const left = Math.max(0, Math.min(x * width, width - long)), top = Math.max(0, Math.min(y * height, height - letters - 4));
      pen.fillStyle = "rgb(0 0 0 / .6)"; pen.fillRect(left, top, long, letters + 4);
      pen.fillStyle = "#fff"; pen.fillText(name, left + 3, top + 2);
    };
    pen.lineWidth = 1.5; pen.setLineDash([8, 5]); pen.strokeStyle = "#fff";
    for (const [name, points] of Object.entries(regions.zones || {})) {
      outline(points, true);
      pen.fillStyle = "rgb(255 255 255 / .08)"; pen.fill(); pen.stroke();
      label(name, points[0]);
    }
    pen.setLineDash([]);
    for (const [name, points] of Object.entries(regions.lines || {})) { outline(points, false); pen.stroke(); label(name, points[0]); }
  }

  series(points) {
    const times = points.map((point) => Date.parse(point.at));
    const of = (key) => points.map((point) => point[key]);
    this.fps.show(times, [{ name: "", ink: "--a", digits: 1, values: of("fps") }]);
    this.latency.show(times, [
      { name: "report", ink: "--b", digits: 0, values: of("total_ms") }, { name: "network", ink: "--a", digits: 0, values: of("detect_ms") },
    ]);
  }
}
