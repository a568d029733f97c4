// Set up: zones, lines, masks and limits drawn on a camera's picture, as TOML for a drop-in. Nothing is changed here.

import { $, element, json, options, request } from "./util.js";

const KINDS = { zone: 3, line: 2, mask: 3 };

export class Setup {
  // `reports` finds the report of a camera's frame by its number.
  constructor(reports) {
    Object.assign(this, { reports, features: { cameras: [] }, picture: null, report: null, shapes: [], points: [], limits: new Map() });
    $("setup-camera").addEventListener("change", () => this.load());
    $("setup-refresh").addEventListener("click", () => this.load());
    $("setup-kind").addEventListener("change", () => { this.points = []; this.show(); });
    $("setup-finish").addEventListener("click", () => this.finish());
    $("setup-undo").addEventListener("click", () => { if (this.points.length) this.points.pop(); else this.shapes.pop(); this.show(); });
    $("setup-copy").addEventListener("click", async () => {
      try { await navigator.clipboard.writeText($("setup-toml").value); $("setup-copied").textContent = "copied"; } catch { $("setup-toml").select(); $("setup-copied").textContent = "select and copy"; }
    });
    const canvas = $("setup-view");
    canvas.addEventListener("click", (event) => {
      const box = canvas.getBoundingClientRect();
      this.point((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    });
    // By keyboard: arrows move a cross, Enter sets a point.
    this.cross = [0.5, 0.5];
    canvas.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 0.1 : 0.01;
      const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
      if (move) this.cross = this.cross.map((value, axis) => Math.max(0, Math.min(1, value + move[axis])));
      else if (event.key === "Enter") this.point(...this.cross);
      else return;
      event.preventDefault();
      this.show();
    });
  }

  setFeatures(features) {
    const first = !this.features.cameras.length;
    this.features = features;
    options($("setup-camera"), "choose a camera", features.cameras);
    if (first && features.cameras.length) $("setup-camera").value = features.cameras[0];
  }

  get camera() { return $("setup-camera").value; }

  async load() {
    $("setup-facts").textContent = "";
    this.picture = null;
    if (!this.camera) { this.show(); return; }
    const path = `api/v1/cameras/${encodeURIComponent(this.camera)}`;
    this.report = await json(`${path}/report`);
    if (this.features.pictures) {
      const response = await request(`${path}/picture?width=1280`);
      if (response.ok) {
        this.picture = await createImageBitmap(await response.blob());
        this.report = this.reports(this.camera, Number(response.headers.get("X-Lookout-Sequence"))) ?? this.report;
      }
    }
    const series = await json("api/v1/series");
    const rate = series && series[this.camera] && series[this.camera].length ? series[this.camera].at(-1).fps : null;
    if (this.report) $("setup-facts").textContent = `${this.report.width}×${this.report.height}${rate === null ? "" : `, ${rate.toFixed(1)} analysed frames a second`}`;
    this.tune();
    this.show();
  }

  point(x, y) {
    const kind = $("setup-kind").value, first = this.points[0];
    // A click near the first corner closes the polygon.
    if (kind !== "line" && this.points.length >= KINDS[kind] && Math.hypot(first[0] - x, first[1] - y) < 0.02) { this.finish(); return; }
    this.points.push([x, y].map((value) => Math.round(Math.max(0, Math.min(1, value)) * 1000) / 1000));
    if (kind === "line" && this.points.length === 2) this.finish();
    this.show();
  }

  finish() {
    const kind = $("setup-kind").value;
    if (this.points.length < KINDS[kind]) { $("setup-hint").textContent = `A ${kind} has at least ${KINDS[kind]} points.`; return; }
    const number = this.shapes.filter((shape) => shape.kind === kind).length + 1;
    this.shapes.push({ kind, name: $("setup-name").value.trim() || `${kind}-${number}`, points: this.points });
    this.points = [];
    $("setup-name").value = "";
    this.show();
  }

  // A slider of the least score for each label of the frame.
  tune() {
    const labels = [...new Set((this.report?.detections || []).map((found) => found.label))].sort();
    $("setup-limits").replaceChildren(...labels.map((label) => {
      const line = element("label", `${label} `), slider = element("input"), value = element("output", "0.00");
      Object.assign(slider, { type: "range", min: 0, max: 1, step: 0.05, value: this.limits.get(label) ?? 0 });
      value.textContent = Number(slider.value).toFixed(2);
      slider.addEventListener("input", () => { this.limits.set(label, Number(slider.value)); value.textContent = Number(slider.value).toFixed(2); this.show(); });
      line.append(slider, value);
      return line;
    }));
  }

  removed(found) {
    const least = this.limits.get(found.label) ?? 0;
    if (found.score < least) return true;
    const x = (found.box[0] + found.box[2]) / 2 / this.report.width, y = found.box[3] / this.report.height;
    return this.shapes.some(({ kind, points }) => kind === "mask" && inside(points, x, y));
  }

  show() {
    const canvas = $("setup-view"), pen = canvas.getContext("2d");
    const size = this.report ? [this.report.width, this.report.height] : [16, 9];
    canvas.width = 960; canvas.height = Math.round(960 * size[1] / size[0]);
    const { width, height } = canvas;
    pen.fillStyle = "#101418"; pen.fillRect(0, 0, width, height);
    if (this.picture) pen.drawImage(this.picture, 0, 0, width, height);
    pen.font = "600 15px system-ui, sans-serif"; pen.textBaseline = "top"; pen.lineWidth = 2;
    let gone = 0;
    const found = this.report?.detections || [];
    for (const detection of found) {
      const [x0, y0, x1, y1] = detection.box.map((edge, index) => edge * (index % 2 ? height / size[1] : width / size[0]));
      const removed = this.removed(detection);
      gone += removed ? 1 : 0;
      pen.strokeStyle = removed ? "#e2574c" : "#4caf7d";
      pen.setLineDash(removed ? [4, 4] : []);
      pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
    const inks = { zone: "#5aa9e6", line: "#e6a65a", mask: "#e2574c" };
    const drawn = this.points.length ? [...this.shapes, { kind: $("setup-kind").value, name: "", points: this.points, open: true }] : this.shapes;
    pen.setLineDash([]);
    for (const { kind, name, points, open } of drawn) {
      pen.strokeStyle = inks[kind]; pen.fillStyle = inks[kind];
      pen.beginPath();
      points.forEach(([x, y], index) => (index ? pen.lineTo(x * width, y * height) : pen.moveTo(x * width, y * height)));
      if (kind !== "line" && !open) { pen.closePath(); pen.globalAlpha = 0.25; pen.fill(); pen.globalAlpha = 1; }
      pen.stroke();
      for (const [x, y] of points) pen.fillRect(x * width - 4, y * height - 4, 8, 8);
      if (name) pen.fillText(name, points[0][0] * width + 8, points[0][1] * height + 4);
    }
    if (document.activeElement === canvas) {
      const [x, y] = [this.cross[0] * width, this.cross[1] * height];
      pen.strokeStyle = "#fff"; pen.beginPath(); pen.moveTo(x - 12, y); pen.lineTo(x + 12, y); pen.moveTo(x, y - 12); pen.lineTo(x, y + 12); pen.stroke();
    }
    $("setup-preview").textContent = found.length ? `${gone} of ${found.length} detections of this frame would be removed (red).` : "no detections on this frame";
    const kind = $("setup-kind").value;
    $("setup-hint").textContent = this.points.length ? `${this.points.length} of at least ${KINDS[kind]} points` : "Click on the picture, or move the cross with the arrow keys and press Enter.";
    $("setup-toml").value = this.toml();
    $("setup-copied").textContent = "";
  }

  // The keys for the camera's table.
  toml() {
    const points = (shape) => `[${shape.points.map(([x, y]) => `[${decimal(x)}, ${decimal(y)}]`).join(", ")}]`;
    const named = (kind) => this.shapes.filter((shape) => shape.kind === kind).map((shape) => `${key(shape.name)} = ${points(shape)}`).join(", ");
    const lines = [`# Keys for the [[camera]] with name = ${key(this.camera || "…", true)}; then: lookout check-config, lookout reload`];
    if (named("zone")) lines.push(`zones = { ${named("zone")} }`);
    if (named("line")) lines.push(`lines = { ${named("line")} }`);
    const masks = this.shapes.filter(({ kind }) => kind === "mask");
    if (masks.length) lines.push(`masks = [${masks.map(points).join(", ")}]`);
    const limits = [...this.limits].filter(([, least]) => least > 0);
    if (limits.length) lines.push(`limits = { ${limits.map(([label, least]) => `${key(label)} = { min_score = ${decimal(least)} }`).join(", ")} }`);
    return `${lines.join("\n")}\n`;
  }
}

const decimal = (value) => (Number.isInteger(value) ? value.toFixed(1) : String(value));
const key = (name, always) => (!always && /^[A-Za-z0-9_-]+$/.test(name) ? name : JSON.stringify(name));

// True if the polygon holds the point: an odd number of edges is crossed to its right.
function inside(points, x, y) {
  let odd = false;
  points.forEach(([x1, y1], index) => {
    const [x0, y0] = points.at(index - 1);
    if ((y0 > y) !== (y1 > y) && x < ((x1 - x0) * (y - y0)) / (y1 - y0) + x0) odd = !odd;
  });
  return odd;
}
