// What every page can do: theme, menus, dialogs, keys, times in the reader's zone, messages of failed requests.

import "./live.js";
import { ago, exact, stamp } from "./words.js";

const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// --- theme
function themeChosen() {
  try { return localStorage.getItem("theme") || ""; } catch { return ""; }
}
function showTheme() {
  for (const button of all("[data-theme-choice]")) {
    button.setAttribute("aria-pressed", String(button.dataset.themeChoice === themeChosen()));
  }
}
function chooseTheme(value) {
  try { localStorage.setItem("theme", value); } catch { /* a browser that keeps nothing */ }
  document.dispatchEvent(new Event("theme"));
  showTheme();
}

// --- times
export function showTimes(root = document) {
  for (const time of all("time[data-time]", root)) {
    const moment = new Date(time.getAttribute("datetime"));
    if (Number.isNaN(moment.getTime())) continue;
    time.title = exact(moment);
    if (time.dataset.time === "ago") time.textContent = ago(moment.getTime());
    if (time.dataset.time === "stamp") time.textContent = stamp(moment);
  }
}

// --- messages
export function toast(text, kind = "danger") {
  const box = document.createElement("div");
  box.className = `toast-note alert alert-${kind}`;
  box.textContent = text;
  document.getElementById("toasts")?.append(box);
  setTimeout(() => box.remove(), 8000);
}

// --- side bar as a drawer
function side(open) {
  document.body.classList.toggle("side-open", open);
  const button = document.querySelector("[data-opens-side]");
  button?.setAttribute("aria-expanded", String(open));
  if (open) document.querySelector("#side a")?.focus();
  else if (document.activeElement?.closest("#side")) button?.focus();
}

async function copy(button) {
  const from = button.dataset.copyFrom && document.querySelector(button.dataset.copyFrom);
  const text = from ? from.textContent.trim() : button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied.", "success");
  } catch {
    toast("The browser does not let pages copy here: select the text instead.", "warning");
  }
}

document.addEventListener("click", (event) => {
  const on = (selector) => event.target.closest(selector);
  const opens = on("[data-opens]");
  if (opens) document.getElementById(opens.dataset.opens)?.showModal();
  if (on("[data-closes]")) on("dialog")?.close();
  if (event.target instanceof HTMLDialogElement) event.target.close(); // the veil around it
  if (on("[data-opens-side]")) side(!document.body.classList.contains("side-open"));
  if (on("[data-closes-side]")) side(false);
  const theme = on("[data-theme-choice]");
  if (theme) chooseTheme(theme.dataset.themeChoice);
  const copies = on("[data-copy], [data-copy-from]");
  if (copies) copy(copies);
  for (const menu of all("details[data-menu][open]")) if (!menu.contains(event.target)) menu.open = false;
});

// --- a dialog that wants a name typed
document.addEventListener("input", (event) => {
  const wanted = event.target.dataset?.mustBe;
  if (wanted === undefined) return;
  const right = event.target.value.trim() === wanted.trim();
  event.target.setCustomValidity(right ? "" : "This is not the name.");
});

// --- keys
let waiting = false;
function key(event) {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.key === "Escape") {
    side(false);
    for (const menu of all("details[data-menu][open]")) menu.open = false;
    if (typing?.id === "search") typing.blur();
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (waiting) {
    waiting = false;
    const link = all("a[data-key]").find((one) => one.dataset.key === event.key);
    if (link) {
      event.preventDefault();
      location.assign(link.href);
    }
  } else if (event.key === "/") {
    event.preventDefault();
    document.getElementById("search")?.focus();
  } else if (event.key === "?") {
    document.getElementById("keys")?.showModal();
  } else if (event.key === "g") {
    waiting = true;
    setTimeout(() => { waiting = false; }, 1500);
  }
}
document.addEventListener("keydown", key);

// --- htmx
document.addEventListener("htmx:configRequest", (event) => {
  const token = document.querySelector("meta[name=csrf]")?.content;
  if (token) event.detail.headers["X-CSRF-Token"] = token;
});
document.addEventListener("htmx:afterSettle", (event) => showTimes(event.target));
document.addEventListener("htmx:responseError", (event) => {
  if (event.detail.xhr.status === 401) location.reload();
  else if (!event.target.closest("[data-follows]")) toast(`It failed: ${event.detail.xhr.status} ${event.detail.xhr.statusText}`);
});
document.addEventListener("htmx:oobAfterSwap", (event) => showTimes(event.target));

showTheme();
showTimes();
setInterval(() => { if (!document.hidden) showTimes(); }, 30000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) showTimes(); });
