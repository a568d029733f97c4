// Model: what runs, how exact it is, what happened to it, and the generations.

import { $, clock, element, json, number, request, time } from "./util.js";
import { Plot } from "./plot.js";

const INKS = ["--a", "--b", "--c", "--d"];

export class Model {
  constructor() {
    this.features = {};
    this.events = [];
    this.agreement = new Plot("Share of fp32's detections that int8 finds, moving average", "%", { high: 100 });
    this.score = new Plot("Deviation of the worst step from the calibration; drift is raised at the dashed line", "σ");
    this.steps = new Plot("Deviation of the four worst steps", "σ");
    this.brightness = new Plot("Mean grey level of the compared pictures", "of 255", {});
    $("model-plots").append(this.agreement.node, this.score.node, this.steps.node, this.brightness.node);
    this.legend = element("ul", undefined, "legend");
    this.legend.setAttribute("aria-label", "steps of the plot");
    this.steps.node.append(this.legend);
    $("rollback").addEventListener("click", (event) => this.send(event.target, "api/v1/generations/rollback", "Go back to the model before?"));
    $("recalibrate").addEventListener("click", (event) => this.send(event.target, "api/v1/recalibrate", "Recalibrate now?"));
  }

  setFeatures(features) {
    this.features = features;
    $("model-none").hidden = Boolean(features.drift || features.generations);
  }

  status(status) {
    const model = status.model;
    $("model-name").textContent = model ? `${model.name}, ${model.precision}, generation ${model.generation}.` : "";
    this.drift = status.drift;
    const marks = this.drift && typeof this.drift.threshold === "number" ? [{ value: this.drift.threshold, name: "drift" }] : [];
    this.score.marks = this.steps.marks = marks;
    this.tell();
  }

  // An event from the stream.
  event(message) {
    if (!/^(drift|calibration)\./.test(message.event)) return;
    this.events.push(message);
    this.tell();
    this.load();
  }

  async load() {
    await Promise.allSettled([this.loadEvents(), this.loadSeries(), this.loadSteps(), this.loadMaps(), this.loadGenerations()]);
  }

  async loadEvents() {
    if (!this.features.events) return;
    const pages = await Promise.all(["drift", "calibration"].map((name) => json(`api/v1/events?limit=200&event=${name}`)));
    this.events = pages.flatMap((page) => (page ? page.events.map((stored) => stored.message) : []));
    this.events.sort((one, other) => Date.parse(one.at) - Date.parse(other.at));
    this.tell();
  }

  // The story of the last day, and one sentence about now.
  tell() {
    const since = Date.now() - 24 * 3600e3;
    const lines = this.events.filter(({ at }) => Date.parse(at) > since).map((message) => [message, sentence(message)]).filter(([, text]) => text);
    $("story").replaceChildren(...lines.map(([{ at }, text]) => {
      const line = element("li");
      const when = element("time", clock(at));
      when.dateTime = at; when.title = time(at);
      line.append(when, ` ${text}`);
      return line;
    }));
    $("model-now").textContent = this.drift ? now(this.drift) : "";
  }

  async loadSeries() {
    if (!this.features.drift) return;
    const series = await json("api/v1/drift/series");
    if (!series || !series.points || !series.points.length) return;
    this.camera = series.points.at(-1).camera;
    const times = series.points.map((point) => Date.parse(point.at));
    const of = (key) => series.points.map((point) => point[key]);
    const percent = of("agreement").map((value) => (typeof value === "number" ? value * 100 : null));
    const least = Math.min(...percent.filter((value) => value !== null));
    this.agreement.low = isFinite(least) ? Math.max(0, Math.floor(least / 10) * 10 - 10) : 0;
    this.agreement.show(times, [{ name: "", ink: "--a", digits: 1, values: percent }]);
    this.score.show(times, [{ name: "", ink: "--a", digits: 2, values: of("deviations") }]);
    this.steps.show(times, series.steps.slice(0, INKS.length).map(({ step, deviations }, index) => ({ name: step, ink: INKS[index], digits: 2, values: deviations })));
    this.brightness.show(times, [{ name: "", ink: "--a", digits: 0, values: of("brightness") }]);
    this.legend.replaceChildren(...series.steps.slice(0, INKS.length).map(({ step }, index) => {
      const item = element("li", step);
      item.className = `ink-${index}`;
      return item;
    }));
    $("model-plots").hidden = false;
  }

  async loadSteps() {
    if (!this.features.drift) return;
    const rows = await json("api/v1/drift");
    if (!Array.isArray(rows) || !rows.length) return;
    $("drift").hidden = false;
    $("drift-steps").replaceChildren(...rows.slice().sort((a, b) => (b.deviations ?? -1) - (a.deviations ?? -1)).map((row) => {
      const line = element("tr");
      const clipped = typeof row.clipped === "number" ? (row.clipped * 100).toFixed(3) : "–";
      line.append(element("td", row.step), element("td", number(row.sqnr_db, 1)), element("td", number(row.calibrated_db, 1)),
        element("td", clipped), element("td", number(row.deviations, 2)));
      return line;
    }));
  }

  async loadMaps() {
    if (!this.features.maps) return;
    const names = await json("api/v1/drift/maps");
    $("maps").replaceChildren(...(names || []).map((name) => {
      const figure = element("figure"), stack = element("div", undefined, "stack"), map = element("img");
      if (this.camera && this.features.pictures) {
        const under = element("img", undefined, "under");
        under.alt = "";
        under.src = `api/v1/cameras/${encodeURIComponent(this.camera)}/picture?width=480`;
        stack.append(under);
      }
      map.alt = `error of ${name}, relative to its mean activation`;
      map.className = "map";
      map.src = `api/v1/drift/maps/${encodeURIComponent(name)}?${Date.now()}`;
      stack.append(map);
      figure.append(stack, element("figcaption", name));
      return figure;
    }));
    $("map-scale").hidden = !(names && names.length);
  }

  async loadGenerations() {
    if (!this.features.generations) return;
    const list = await json("api/v1/generations");
    $("generations").hidden = false;
    $("recalibrate").hidden = !this.features.recalibrate;
    const entries = Array.isArray(list) ? list : (list && list.generations) || [];
    $("generation-list").replaceChildren(...entries.slice().reverse().map((entry) => {
      const line = element("tr");
      const state = [["serving", "serving"], ["on_trial", "on probation"], ["pinned", "pinned"], ["rolled_back", "rolled back"]].filter(([key]) => entry[key]).map(([, word]) => word);
      const gain = entry.numbers && typeof entry.numbers.gain_db === "number" ? `${entry.numbers.gain_db > 0 ? "+" : ""}${number(entry.numbers.gain_db, 2)}` : "–";
      line.append(element("td", entry.generation), element("td", entry.at ? time(entry.at) : "–"), element("td", entry.why ?? ""),
        element("td", gain), element("td", state.join(", ")));
      return line;
    }));
  }

  async send(button, path, question) {
    if (!window.confirm(question)) return;
    button.disabled = true;
    try {
      const response = await request(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
      const answer = await response.json();
      $("command-result").textContent = response.ok ? "done" : answer.error;
    } catch (error) { $("command-result").textContent = String(error); }
    button.disabled = false;
    this.load();
  }
}

// What the figures of a pass say about its picture.
function picture({ brightness, calibrated_brightness: calibrated }) {
  if (typeof brightness !== "number" || typeof calibrated !== "number") return "the pictures differ from those of the calibration";
  const levels = `mean grey level ${Math.round(brightness)} instead of ${Math.round(calibrated)}`;
  if (brightness < 0.75 * calibrated) return `the pictures are darker than those of the calibration (${levels})`;
  if (brightness > 1.33 * calibrated) return `the pictures are brighter than those of the calibration (${levels})`;
  return `the pictures differ from those of the calibration, though not in brightness (${levels})`;
}

// What the figures say about the worst step.
function step({ worst, by, sqnr_db: now, calibrated_db: calibrated, most_clipped: clipped, deviations }) {
  const away = `${number(deviations, 1)} standard deviations`;
  const larger = typeof now === "number" && typeof calibrated === "number" ? 10 ** ((calibrated - now) / 20) : null;
  if (by === "clipping") return `up to ${number((clipped ?? 0) * 100, 2)} % of the values leave the range of their step; the worst is ${worst}, by ${away}`;
  if (by === "error" && larger !== null) return `the error of ${worst} is ${number(larger, 1)} times that of the calibration, ${away} away`;
  if (by === "together") return `all layers together are ${away} away`;
  return `the values of ${worst} are distributed differently, by ${away}`;
}

// An event of the monitor in a sentence.
function sentence(message) {
  const numbers = message.numbers || {};
  switch (message.event) {
    case "drift.raised": return `Drift: ${picture(numbers)}; ${step(numbers)}.`;
    case "drift.cleared": return `The drift is over: the worst step is ${number(numbers.deviations, 1)} standard deviations away.`;
    case "calibration.accepted": {
      const there = numbers.in_drift && typeof numbers.in_drift.gain_db === "number" ? `, and by ${number(numbers.in_drift.gain_db, 2)} dB on the pictures with drift` : "";
      const gain = typeof numbers.gain_db === "number" ? `: it lowers the error by ${number(numbers.gain_db, 2)} dB${there}` : "";
      return `Recalibrated on this device. Generation ${message.generation} serves now${gain}.`;
    }
    case "calibration.refused": return `A recalibration was refused: ${(message.reasons || []).join("; ")}.`;
    case "calibration.rolled_back": return `Rolled back to generation ${message.generation}: ${message.reason ?? (message.reasons || []).join("; ")}.`;
    default: return null;
  }
}

// The present state in a sentence.
function now(drift) {
  const agreement = typeof drift.agreement === "number" ? ` It finds ${number(drift.agreement * 100, 1)} % of what fp32 finds on the same frames.` : "";
  const state = drift.verdict === "drifting"
    ? `The model drifts: ${picture(drift)}; ${step(drift)}.`
    : `The model works as calibrated: the worst step, ${drift.worst ?? "–"}, is ${number(drift.deviations, 1)} standard deviations away, and drift is raised at ${number(drift.threshold, 1)}.`;
  const probation = drift.on_trial ? " The new generation is on probation beside the one before." : "";
  const without = drift.without_reference ? ` There is no fp32 model to compare with: ${drift.without_reference}.` : "";
  return state + agreement + probation + without;
}
