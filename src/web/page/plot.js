// A plot over time as SVG: axes with units, values under the pointer, arrow keys.

import { element, svg, number } from "./util.js";

const WIDTH = 560, HEIGHT = 170, LEFT = 46, RIGHT = 8, TOP = 10, BOTTOM = 24;

// About four round numbers from 0 or `low` to `high`.
function ticks(low, high) {
  const rough = (high - low) / 4 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) found.push(value);
  return { values: found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

export class Plot {
  // `unit` is shown at the vertical axis, `marks` are values with a dashed line and a name.
  constructor(caption, unit, { low = 0, high = null, marks = [] } = {}) {
    Object.assign(this, { caption, unit, low, high, marks, at: null, times: [], series: [] });
    this.node = element("figure", undefined, "plot");
    this.picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: "0" });
    this.readout = element("p", "", "readout");
    this.readout.setAttribute("aria-live", "polite");
    this.node.append(element("figcaption", caption), this.picture, this.readout);
    this.picture.addEventListener("pointermove", (event) => {
      const box = this.picture.getBoundingClientRect();
      this.select(this.nearest(((event.clientX - box.left) / box.width) * WIDTH));
    });
    this.picture.addEventListener("pointerleave", () => this.select(null));
    this.picture.addEventListener("keydown", (event) => {
      const last = this.times.length - 1, from = this.at ?? last;
      const next = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last }[event.key];
      if (next === undefined || last < 0) return;
      event.preventDefault();
      this.select(Math.max(0, Math.min(last, next)));
    });
  }

  // `times` are milliseconds since 1970, `series` objects with name, ink (a CSS variable), digits and values.
  show(times, series) {
    Object.assign(this, { times, series });
    if (this.at !== null && this.at >= times.length) this.at = null;
    this.draw();
  }

  x(index) {
    const [first, last] = [this.times[0], this.times.at(-1)];
    const share = last > first ? (this.times[index] - first) / (last - first) : 1;
    return LEFT + share * (WIDTH - LEFT - RIGHT);
  }

  nearest(x) {
    if (!this.times.length) return null;
    let best = 0;
    for (let index = 1; index < this.times.length; index++) if (Math.abs(this.x(index) - x) < Math.abs(this.x(best) - x)) best = index;
    return best;
  }

  select(index) {
    if (this.at === index) return;
    this.at = index;
    this.draw();
  }

  draw() {
    const { picture, times, series } = this;
    const known = series.flatMap(({ values }) => values.filter((value) => typeof value === "number"));
    const most = this.high ?? Math.max(...known, ...this.marks.map(({ value }) => value), this.low + 1e-9) * 1.1;
    const y = (value) => TOP + (1 - (value - this.low) / (most - this.low)) * (HEIGHT - TOP - BOTTOM);
    const parts = [];
    const { values, digits } = ticks(this.low, most);
    for (const value of values) {
      parts.push(svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: "grid" }));
      parts.push(svg("text", { x: LEFT - 5, y: y(value) + 4, class: "tick", "text-anchor": "end" }, value.toFixed(digits)));
    }
    parts.push(svg("text", { x: 2, y: TOP + 2, class: "tick unit" }, this.unit));
    if (times.length > 1) {
      const span = times.at(-1) - times[0];
      const label = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", ...(span < 600e3 ? { second: "2-digit" } : {}) });
      [0, 0.5, 1].forEach((share, index) => parts.push(svg("text", {
        x: LEFT + share * (WIDTH - LEFT - RIGHT), y: HEIGHT - 6, class: "tick", "text-anchor": ["start", "middle", "end"][index],
      }, label(times[0] + share * span))));
    }
    for (const { value, name } of this.marks) {
      parts.push(svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: "mark" }));
      parts.push(svg("text", { x: WIDTH - RIGHT, y: y(value) - 3, class: "tick", "text-anchor": "end" }, name));
    }
    for (const { values: points, ink } of series) {
      const path = points.map((value, index) => (typeof value === "number" ? `${points[index - 1] === undefined || points[index - 1] === null ? "M" : "L"}${this.x(index).toFixed(1)} ${y(value).toFixed(1)}` : "")).join("");
      const line = svg("path", { d: path, class: "line" });
      line.style.stroke = `var(${ink})`;
      parts.push(line);
    }
    const at = this.at ?? times.length - 1;
    if (this.at !== null) parts.push(svg("line", { x1: this.x(at), x2: this.x(at), y1: TOP, y2: HEIGHT - BOTTOM, class: "cursor" }));
    picture.replaceChildren(...parts);
    const readings = series.map(({ name, digits: places, values: points }) => `${name ? `${name} ` : ""}${number(points[at], places)}`);
    this.readout.textContent = times.length ? `${new Date(times[at]).toLocaleTimeString()}: ${readings.join(", ")} ${this.unit}` : "no values yet";
    picture.setAttribute("aria-label", `${this.caption}. ${this.readout.textContent}`);
  }
}
