// Sizes, durations and distances in the same words as the server's.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 999.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  if (unit === 0 || Math.abs(value) >= 99.95) return `${value.toFixed(0)} ${UNITS[unit]}`;
  return `${Number(value.toPrecision(3))} ${UNITS[unit]}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const two = (n) => String(n).padStart(2, "0");
  const [minutes, hours, days] = [Math.floor(whole / 60), Math.floor(whole / 3600), Math.floor(whole / 86400)];
  if (days) return `${days} d ${two(hours % 24)} h`;
  if (hours) return `${hours} h ${two(minutes % 60)} min`;
  if (minutes) return `${minutes} min ${two(whole % 60)} s`;
  return `${whole} s`;
}

function distance(seconds) {
  if (seconds < 45) return "a moment";
  if (seconds < 5400) return `${Math.max(1, Math.round(seconds / 60))} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

export function ago(moment, now = Date.now()) {
  const seconds = (now - moment) / 1000;
  return seconds >= 0 ? `${distance(seconds)} ago` : `in ${distance(-seconds)}`;
}

const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const SHORT = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "short" });

export const exact = (moment) => EXACT.format(moment);
export const stamp = (moment) => SHORT.format(moment);
export const clock = (moment) => new Date(moment).toLocaleTimeString("sv-SE");
