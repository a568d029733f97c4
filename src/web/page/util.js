// Helpers of every part of the page. Data of the device is never inserted as HTML.

export const $ = (id) => document.getElementById(id);

export function element(name, text, className) {
  const node = document.createElement(name);
  if (text !== undefined && text !== null) node.textContent = text;
  if (className) node.className = className;
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

// Called when an answer says that nobody is logged in.
let onLogin = () => {};
export function whenLoginIsNeeded(call) { onLogin = call; }

export async function request(path, options) {
  const response = await fetch(path, { credentials: "same-origin", ...options });
  if (response.status === 401) { onLogin(); throw new Error("not logged in"); }
  return response;
}

// The JSON at `path`; null if there is none.
export async function json(path) {
  const response = await request(path);
  return response.ok ? response.json() : null;
}

export const number = (value, digits) => (typeof value === "number" && isFinite(value) ? value.toFixed(digits) : "–");
export const time = (text) => { const at = new Date(text); return isNaN(at) ? "" : at.toLocaleString(); };
export const clock = (text) => { const at = new Date(text); return isNaN(at) ? "" : at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }); };
export const colour = (id) => `hsl(${(id * 137.508) % 360} 85% 62%)`;

// A duration in words, from seconds.
export function duration(seconds) {
  if (typeof seconds !== "number" || !isFinite(seconds)) return "–";
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

// Fills a select with `values` and keeps what was selected.
export function options(select, all, values) {
  const before = select.value;
  select.replaceChildren(new Option(all, ""), ...values.map((value) => new Option(value, value)));
  select.value = values.includes(before) ? before : "";
}

// Offers `blob` as a file.
export function download(blob, name) {
  const link = element("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
