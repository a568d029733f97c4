// The page: log-in, the stream of messages, and the four views.

import { $, element, json, whenLoginIsNeeded } from "./util.js";
import { Events } from "./events.js";
import { Live } from "./live.js";
import { Model } from "./model.js";
import { Setup } from "./setup.js";

const VIEWS = ["live", "events", "setup", "model"];

const live = new Live(), events = new Events(), setup = new Setup((camera, sequence) => live.find(camera, sequence)), model = new Model();
let features = null;
let stream = null;
// True once the service has announced its end, until the stream opens again.
let ended = false;

whenLoginIsNeeded(() => {
  if (stream) { stream.close(); stream = null; }
  live.setConnected(false);
  $("login").hidden = false;
  $("state").textContent = "log in";
  $("token").focus();
});

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
  begin().catch(console.debug);
});

// The view that the address names.
function route() {
  const wanted = location.hash.slice(1), view = VIEWS.includes(wanted) ? wanted : "live";
  for (const name of VIEWS) {
    $(name).hidden = name !== view;
    const link = document.querySelector(`nav a[href="#${name}"]`);
    if (name === view) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  if (!features) return;
  if (view === "events") events.restart().catch(console.debug);
  if (view === "setup") setup.load().catch(console.debug);
  if (view === "model") model.load().catch(console.debug);
}
window.addEventListener("hashchange", route);

function showStatus(status) {
  if (!status) return;
  $("device").textContent = status.device;
  $("state").textContent = status.state;
  $("state").className = `pill ${status.state}`;
  $("reasons").replaceChildren(...status.reasons.map((reason) => element("li", reason)));
  $("reasons").hidden = status.reasons.length === 0;
  live.status(status);
  model.status(status);
}

function setFeatures(now) {
  features = now;
  for (const view of [live, events, setup, model]) view.setFeatures(now);
}

async function refresh() {
  if (document.hidden || !stream) return;
  try {
    showStatus(await json("api/v1/status"));
    if (!$("live").hidden) live.series(await json("api/v1/series"));
  } catch (error) { console.debug(error); }
}

async function begin() {
  const now = await json("api/v1/features");
  if (!now) return;
  setFeatures(now);
  if (stream) stream.close();
  stream = new EventSource("api/v1/stream");
  stream.addEventListener("report", (event) => live.report(JSON.parse(event.data)));
  stream.addEventListener("status", (event) => showStatus(JSON.parse(event.data)));
  stream.addEventListener("event", (event) => {
    const message = JSON.parse(event.data);
    events.event(message);
    model.event(message);
  });
  const showLost = () => {
    live.setConnected(false);
    $("state").textContent = ended ? "stopped" : "no connection";
    $("state").className = "pill lost";
  };
  stream.addEventListener("end", () => { ended = true; showLost(); });
  stream.addEventListener("error", showLost);
  stream.addEventListener("open", () => { ended = false; live.setConnected(true); refresh(); });
  await live.latest();
  await refresh();
  route();
}

setInterval(refresh, 2000);
setInterval(async () => {
  if (!stream || document.hidden) return;
  // The monitor may come later, cameras with another configuration.
  const now = await json("api/v1/features").catch(() => null);
  if (now) setFeatures(now);
  if (!$("model").hidden) model.load().catch(console.debug);
}, 10000);
route();
begin().catch(console.debug);
