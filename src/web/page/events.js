// Events: one card per object, by day, with filters, a timeline, and the details of each.

import { $, clock, colour, download, duration, element, json, options, request, svg, time } from "./util.js";

const PAGE = 60, BINS = 48;
// Most pages that are read at once to fill the screen or a day.
const PAGES = 8;

export class Events {
  constructor() {
    Object.assign(this, { features: {}, cards: new Map(), oldest: null, ended: false, loading: null, fresh: 0, labels: new Set(), zones: new Set() });
    for (const id of ["filter-kind", "filter-camera", "filter-label", "filter-zone", "filter-day"]) $(id).addEventListener("change", () => this.restart());
    $("more").addEventListener("click", () => this.older());
    $("fresh").addEventListener("click", () => { window.scrollTo({ top: 0 }); this.restart(); });
    $("export").addEventListener("click", () => {
      const messages = this.shown().map((card) => card.message);
      download(new Blob([JSON.stringify(messages, null, 1)], { type: "application/json" }), "events.json");
    });
    $("event-close").addEventListener("click", () => $("event").close());
    new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) this.older(); }).observe($("event-end"));
  }

  setFeatures(features) {
    this.features = features;
    options($("filter-camera"), "all cameras", features.cameras);
  }

  // Messages of the last second come together: the store needs a moment.
  event(message) {
    // A better picture of an object that has its card already.
    if (message.event === "object.update") return;
    if (!this.features.events) { this.add({ key: null, thumbnail: false, message }); this.show(); return; }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.newest(), 1200);
  }

  restart() {
    this.cards.clear();
    this.labels.clear();
    this.zones.clear();
    Object.assign(this, { oldest: null, ended: false, fresh: 0 });
    $("fresh").hidden = true;
    return this.older();
  }

  query(before) {
    const kind = $("filter-kind").value, camera = $("filter-camera").value;
    const parameters = new URLSearchParams({ limit: PAGE });
    if (kind !== "device" && kind !== "all") parameters.set("event", kind);
    if (camera) parameters.set("camera", camera);
    if (before) parameters.set("before", before);
    return json(`api/v1/events?${parameters}`);
  }

  // The newest events, without moving what is being looked at.
  async newest() {
    const page = await this.query(null);
    if (!page) return;
    const before = this.cards.size;
    page.events.forEach((stored) => this.add(stored));
    if (this.cards.size === before) return;
    if (window.scrollY < 200 && !$("events").hidden) { this.show(); return; }
    this.fresh += this.cards.size - before;
    $("fresh").textContent = `${this.fresh} new`;
    $("fresh").hidden = false;
  }

  async older() {
    if (!this.features.events) { this.show(); return; }
    if (this.loading || this.ended) return;
    this.loading = true;
    try {
      const wanted = this.shown().length + PAGE / 2, day = $("filter-day").value;
      for (let page = 0; page < PAGES && !this.ended; page++) {
        const found = await this.query(this.oldest);
        if (!found) { this.ended = true; break; }
        found.events.forEach((stored) => this.add(stored));
        this.oldest = found.next;
        this.ended = found.next === null;
        const last = found.events.at(-1);
        if (day && last && dayOf(last.message.at) >= day) continue;
        if (this.shown().length >= wanted) break;
      }
    } finally { this.loading = false; }
    this.show();
  }

  // Both events of an object are one card.
  add(stored) {
    const { message } = stored;
    const id = message.event.startsWith("object.") ? `object ${message.object}` : `event ${stored.key ?? message.id}`;
    const known = this.cards.get(id);
    if (message.label) this.labels.add(message.label);
    for (const zone of zonesOf(message)) this.zones.add(zone);
    if (!known) { this.cards.set(id, { id, key: stored.key, picture: stored.thumbnail ? stored.key : null, message, begun: message.first_at || message.at }); return; }
    if (stored.thumbnail && (known.picture === null || message.event === "object.end")) known.picture = stored.key;
    if (message.event === "object.end") known.message = message;
  }

  shown() {
    const kind = $("filter-kind").value, label = $("filter-label").value, zone = $("filter-zone").value, day = $("filter-day").value;
    return [...this.cards.values()].filter(({ message, begun }) => {
      const object = message.event.startsWith("object.");
      if (kind === "object" && !object) return false;
      if (kind === "device" && (object || /^(zone|line)\./.test(message.event))) return false;
      return (!label || message.label === label) && (!zone || zonesOf(message).includes(zone)) && (!day || dayOf(begun) === day);
    }).sort((one, other) => Date.parse(other.begun) - Date.parse(one.begun));
  }

  show() {
    options($("filter-label"), "all labels", [...this.labels].sort());
    options($("filter-zone"), "all zones", [...this.zones].sort());
    const cards = this.shown(), parts = [];
    let day = null;
    for (const card of cards) {
      if (dayOf(card.begun) !== day) {
        day = dayOf(card.begun);
        parts.push(element("li", new Date(card.begun).toLocaleDateString([], { weekday: "long", day: "numeric", month: "long", year: "numeric" }), "day"));
      }
      card.node = card.node && card.drawn === card.message ? card.node : this.card(card);
      parts.push(card.node);
    }
    if (!cards.length) parts.push(element("li", this.features.events ? "no events" : "no history is kept; new events appear here", "empty"));
    $("event-list").replaceChildren(...parts);
    $("more").hidden = this.ended || !this.features.events;
    this.timeline(cards);
  }

  card(card) {
    const { message } = card, item = element("li", undefined, "card"), button = element("button");
    card.drawn = message;
    button.type = "button";
    if (card.picture !== null && this.features.pictures) {
      const picture = element("img");
      picture.loading = "lazy"; picture.alt = `picture of ${message.label || message.event}`; picture.src = `api/v1/events/${card.picture}/thumbnail`;
      button.append(picture);
    }
    const text = element("span", undefined, "text");
    text.append(element("b", title(message)), element("small", [message.camera, ...zonesOf(message)].filter(Boolean).join(" · ")),
      element("small", `${clock(card.begun)}${lasting(message)}`));
    button.append(text);
    button.addEventListener("click", () => this.detail(card));
    item.append(button);
    return item;
  }

  // Cards by half hour of the newest day shown.
  timeline(cards) {
    const day = $("filter-day").value || (cards.length ? dayOf(cards[0].begun) : null), bins = new Array(BINS).fill(0);
    for (const { begun } of cards) if (dayOf(begun) === day) { const at = new Date(begun); bins[at.getHours() * 2 + (at.getMinutes() >= 30 ? 1 : 0)]++; }
    const most = Math.max(1, ...bins), parts = [], wide = $("timeline").clientWidth || 480, step = wide / BINS;
    $("timeline").setAttribute("viewBox", `0 0 ${wide} 60`);
    bins.forEach((count, bin) => {
      const high = (count / most) * 40 || 0.5;
      const bar = svg("rect", { x: bin * step + 1, width: step - 2, y: 44 - high, height: high, class: "bar" });
      const hour = `${String(bin >> 1).padStart(2, "0")}:${bin & 1 ? "30" : "00"}`;
      bar.append(svg("title", {}, `${hour}: ${count}`));
      parts.push(bar);
    });
    for (let hour = 0; hour <= 24; hour += 6) parts.push(svg("text", { x: hour * 2 * step, y: 57, class: "tick", "text-anchor": hour === 0 ? "start" : hour === 24 ? "end" : "middle" }, `${hour} h`));
    $("timeline").replaceChildren(...parts);
    const total = bins.reduce((sum, count) => sum + count, 0);
    $("timeline").setAttribute("aria-label", day ? `${total} events on ${day} by half hour, at most ${most} in one` : "no events");
  }

  async detail(card) {
    const { message } = card, dialog = $("event");
    $("event-title").textContent = title(message);
    const facts = [["camera", message.camera], ["zones", zonesOf(message).join(", ")], ["from", time(message.first_at || message.at)], ["to", message.last_at ? time(message.last_at) : null],
      ["duration", typeof message.duration_s === "number" ? duration(message.duration_s) : null], ["score", message.best_score ?? message.score],
      ["error", message.error], ["reason", message.reason || (message.reasons || []).join("; ")], ["line", message.line], ["direction", message.direction], ["dwell", typeof message.dwell_s === "number" ? duration(message.dwell_s) : null],
      ["visits", (message.visits || []).map((visit) => `${visit.zone} ${duration(visit.dwell_s)}`).join(", ")],
      ["crossings", (message.crossings || []).map((crossing) => `${crossing.line} to ${crossing.direction}`).join(", ")]];
    $("event-facts").replaceChildren(...facts.filter(([, value]) => value !== undefined && value !== null && value !== "").flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
    const links = [element("button", "JSON")];
    links[0].addEventListener("click", () => download(new Blob([JSON.stringify(message, null, 1)], { type: "application/json" }), `${message.event}-${message.id}.json`));
    const picture = $("event-picture");
    picture.hidden = true;
    if (card.picture !== null && this.features.pictures) {
      picture.src = `api/v1/events/${card.picture}/thumbnail`;
      picture.alt = `best picture of ${title(message)}`;
      picture.hidden = false;
      links.push(element("button", "Picture"));
      links[1].addEventListener("click", async () => download(await (await request(picture.src)).blob(), `${message.event}-${message.id}.jpg`));
    }
    links.forEach((link) => { link.type = "button"; });
    $("event-links").replaceChildren(...links);
    this.path(message);
    dialog.showModal();
  }

  // The way of the object through the picture, and its best box.
  path(message) {
    const drawing = $("event-path"), path = message.path || [], size = message.size || [message.width, message.height];
    const has = path.length > 1 && size[0] > 0;
    drawing.toggleAttribute("hidden", !has);
    if (!has) return;
    drawing.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
    const parts = [svg("rect", { x: 0, y: 0, width: size[0], height: size[1], class: "frame" })];
    const points = path.map((point) => (Array.isArray(point) ? point : [point.x, point.y]).slice(-2).join(","));
    const line = svg("polyline", { points: points.join(" "), class: "way" });
    line.style.stroke = colour(message.class_id ?? 0);
    const box = message.best_box || message.box;
    if (box) parts.push(svg("rect", { x: box[0], y: box[1], width: box[2] - box[0], height: box[3] - box[1], class: "box" }));
    parts.push(line);
    drawing.replaceChildren(...parts);
  }
}

const dayOf = (text) => { const at = new Date(text); return isNaN(at) ? "" : `${at.getFullYear()}-${String(at.getMonth() + 1).padStart(2, "0")}-${String(at.getDate()).padStart(2, "0")}`; };

const zonesOf = (message) => [...new Set([...(message.zones || []), ...(message.zone ? [message.zone] : [])])];

function title(message) {
  if (message.event.startsWith("object.")) return `${message.label}${message.track === undefined ? "" : ` #${message.track}`}`;
  const words = { "zone.entered": "entered", "zone.left": "left", "zone.loitering": "loiters in", "zone.crowded": "crowd in", "zone.cleared": "no crowd any more in" };
  if (words[message.event]) return `${message.label} ${words[message.event]} ${message.zone}`;
  if (message.event === "line.crossed") return `${message.label} crossed ${message.line} to ${message.direction}`;
  if (message.label) return `${message.event}: ${message.label}`;
  return message.event;
}

function lasting(message) {
  if (message.event === "object.end") return ` · ${duration(message.duration_s)}`;
  return message.event === "object.new" ? " · in sight" : "";
}
