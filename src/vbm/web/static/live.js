// The parts of a page that show work under way: the server tells when that changes, and each part asks anew, no more
// often than it says. `data-follows`: the events that concern it; `data-every`: seconds. A page that nobody sees does
// not listen: a browser opens six lines to a server, for all its tabs together.

import { stream } from "./stream.js";

const GRACE = 2000; // the line is cut and back again before anybody has to know
const parts = () => [...document.querySelectorAll("[data-follows]")];
const asked = new Map(); // by the id of a part, which may be another element meanwhile: when
const due = new Map();
let seen = document.querySelector("[data-seen]")?.dataset.seen ?? "";
let close = null;
let lost = 0;

function ask(part) {
  const { id } = part;
  if (due.has(id)) return;
  const every = 1000 * Number(part.dataset.every);
  const wait = Math.max(0, (asked.get(id) ?? -Infinity) + every - performance.now());
  due.set(id, setTimeout(() => {
    due.delete(id);
    const now = document.getElementById(id);
    if (!now) return;
    asked.set(id, performance.now());
    if (isInUse(now)) ask(now);
    else window.htmx.trigger(now, "live");
  }, wait));
}

// Nothing is taken from under a hand: what has the focus, or an open menu or dialog, is drawn anew afterwards.
function isInUse(part) {
  return part.contains(document.activeElement) || part.querySelector("dialog[open], details[open]") !== null;
}

function told(kind) {
  return (_, mark) => {
    seen = mark;
    for (const part of parts()) if (part.dataset.follows.split(" ").includes(kind)) ask(part);
  };
}

function showLost(is) {
  const note = document.getElementById("lost");
  if (note) note.hidden = !is;
}

function state(now, ended) {
  if (now === "open") {
    clearTimeout(lost);
    showLost(false);
    if (lost) parts().forEach(ask); // much may have happened that no event tells of
    lost = 0;
  } else {
    lost ||= setTimeout(() => showLost(true), GRACE);
    if (ended) window.htmx.trigger("#live", "live"); // where nobody is signed in any longer, that says so
  }
}

function listen() {
  if (document.hidden) {
    close?.();
    close = null;
    clearTimeout(lost);
    lost = 0;
  } else {
    close ??= stream(() => `/api/v1/events?seen=${encodeURIComponent(seen)}`, { runs: told("runs"), progress: told("progress") }, state);
  }
}

if (parts().length) {
  listen();
  document.addEventListener("visibilitychange", listen);
  window.addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    close = null; // it ended with the page, which is back
    listen();
  });
}
