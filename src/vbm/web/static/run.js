// A run, live: its bars, its steps and its log. After the end the page is asked for again: it is the report then.

import { stream } from "./stream.js";
import { clock, duration, size } from "./words.js";

const root = document.getElementById("run");
const find = (name) => root.querySelector(`[data-${name}]`);
const log = find("log");
const STEP = { connecting: 0, snapshot: 1, downloading: 2, compressing: 3, committing: 3, cleanup: 3, done: 4 };
const SNAPSHOT = { none: "No snapshot", present: "Snapshot on the VM", removed: "Snapshot removed", left: "Snapshot left on the VM" };
const seen = new Set([...root.querySelectorAll("[data-number]")].map((line) => Number(line.dataset.number)));

function say(name, text) {
  const place = find(name);
  if (place && place.textContent !== text) place.textContent = text;
}

function showRun(run) {
  const bar = find("bar");
  if (run.bytes_total) bar.value = (1000 * run.bytes_done) / run.bytes_total;
  say("bytes", `${size(run.bytes_done)} of ${size(run.bytes_total)}`);
  say("rate", run.rate ? `${size(run.rate)}/s` : "");
  say("left", run.eta_seconds === null ? "" : `${duration(run.eta_seconds)} left`);
  say("snapshot-words", SNAPSHOT[run.snapshot_state] ?? run.snapshot_state);
  const now = STEP[run.phase] ?? 0;
  root.querySelectorAll("[data-steps] li").forEach((step, index) => {
    step.className = index < now ? "done" : index === now ? "now" : "";
    if (index === now) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
  });
  showDisks(run.disks ?? []);
  document.title = run.bytes_total
    ? `${Math.floor((100 * run.bytes_done) / run.bytes_total)} % · ${run.vm}`
    : document.title;
}

function showDisks(disks) {
  const place = find("disks");
  while (place.children.length > disks.length) place.lastElementChild.remove();
  disks.forEach((disk, index) => {
    let row = place.children[index];
    if (!row) {
      row = document.createElement("div");
      row.className = "run-disk";
      const name = document.createElement("span");
      const bar = document.createElement("progress");
      const words = document.createElement("span");
      bar.className = "progress progress-sm bar";
      bar.max = 1000;
      words.className = "num small text-secondary";
      row.append(name, bar, words);
      place.append(row);
    }
    const [name, bar, words] = row.children;
    name.textContent = disk.label;
    bar.setAttribute("aria-label", disk.label);
    bar.value = disk.bytes_total ? (1000 * disk.bytes_done) / disk.bytes_total : 1000;
    words.textContent = `${size(disk.bytes_done)} of ${size(disk.bytes_total)}`;
  });
}

function addLine(line, id) {
  const number = Number(id);
  if (!log || seen.has(number)) return;
  seen.add(number);
  const row = document.createElement("li");
  row.className = line.level;
  const time = document.createElement("time");
  time.dateTime = line.time;
  time.textContent = clock(line.time);
  const level = document.createElement("span");
  level.className = "level";
  level.textContent = line.level === "info" ? "" : line.level;
  const message = document.createElement("span");
  message.className = "message";
  message.textContent = line.message;
  row.append(time, level, message);
  log.append(row);
  find("log-empty")?.remove();
  if (find("follow")?.checked) log.scrollTop = log.scrollHeight;
}

for (const time of root.querySelectorAll('time[data-time="clock"]')) time.textContent = clock(time.dateTime);
find("warnings")?.addEventListener("change", (event) => log.classList.toggle("warnings-only", event.target.checked));
log?.addEventListener("wheel", () => {
  const follow = find("follow");
  if (follow && log.scrollTop + log.clientHeight < log.scrollHeight - 40) follow.checked = false;
});

if (root.dataset.live) {
  if (log) log.scrollTop = log.scrollHeight;
  const close = stream(
    root.dataset.live,
    {
      run: showRun,
      log: addLine,
      end: () => {
        close();
        setTimeout(() => location.reload(), 400);
      },
    },
    (state) => { find("lost").hidden = state === "open"; },
  );
}
