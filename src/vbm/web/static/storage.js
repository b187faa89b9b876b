// Three charts, each with one message; the same numbers are in the tables of the page.
const data = JSON.parse(document.getElementById("charts")?.dataset.charts ?? "null");
const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

function size(bytes) {
  let count = bytes;
  let unit = 0;
  while (Math.abs(count) >= 999.5 && unit < units.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${unit && Math.abs(count) < 99.95 ? Number(count.toPrecision(3)) : Math.round(count)} ${units[unit]}`;
}

// An axis that ends on a round number of its own unit.
function nice(highest) {
  let unit = 1;
  while (highest / unit >= 1024) unit *= 1024;
  const count = highest / unit;
  const step = [0.25, 0.5, 1, 2, 5, 10, 25, 50, 100, 250].find((one) => count / one <= 5) ?? 250;
  return { min: 0, max: Math.ceil(count / step) * step * unit, interval: step * unit };
}

const dark = () => document.documentElement.dataset.bsTheme === "dark";
const charts = [];

function look() {
  const text = dark() ? "#c3cedb" : "#3c4653";
  const line = dark() ? "#33404f" : "#dce1e7";
  return { text, line, blue: dark() ? "#6ea8fe" : "#2563c9", red: dark() ? "#ff7b72" : "#c22b2b", muted: dark() ? "#8391a3" : "#8a95a3" };
}

function base(colours, highest) {
  return {
    animation: false,
    textStyle: { fontFamily: "inherit", color: colours.text },
    grid: { left: 8, right: 16, top: 28, bottom: 8, containLabel: true },
    tooltip: { trigger: "axis", renderMode: "richText", valueFormatter: (value) => (value == null ? "–" : size(value)) },
    xAxis: { type: "time", axisLabel: { color: colours.text, hideOverlap: true }, axisLine: { lineStyle: { color: colours.line } } },
    yAxis: { type: "value", ...nice(highest), axisLabel: { color: colours.text, formatter: size }, splitLine: { lineStyle: { color: colours.line } } },
  };
}

function used(colours) {
  return {
    ...base(colours, data.total),
    legend: { top: 0, right: 0, textStyle: { color: colours.text }, data: ["Used", "Forecast"] },
    series: [
      { name: "Used", type: "line", showSymbol: false, lineStyle: { width: 2, color: colours.blue }, itemStyle: { color: colours.blue }, areaStyle: { opacity: 0.12, color: colours.blue }, data: data.past,
        markLine: { silent: true, symbol: "none", lineStyle: { color: colours.red, type: "dashed" }, data: [{ yAxis: data.alarm }], label: { formatter: "80 %", color: colours.red, position: "insideStartTop" } } },
      { name: "Forecast", type: "line", showSymbol: false, lineStyle: { width: 2, type: "dashed", color: colours.muted }, itemStyle: { color: colours.muted }, data: data.future },
    ],
  };
}

function days(colours) {
  const highest = Math.max(1, ...data.days.map(([, added]) => added));
  return { ...base(colours, highest), series: [{ name: "Added", type: "bar", barMaxWidth: 18, itemStyle: { color: colours.blue }, data: data.days }] };
}

function vms(colours) {
  const shown = [...data.vms].reverse();
  const common = base(colours, Math.max(1, ...shown.map(([, added]) => added)));
  const short = (name) => (name.length > 22 ? `${name.slice(0, 21)}…` : name);
  return {
    ...common,
    xAxis: { ...common.yAxis, axisLabel: { color: colours.text, formatter: size, hideOverlap: true } },
    yAxis: { type: "category", data: shown.map(([name]) => name), axisLabel: { color: colours.text, formatter: short }, axisLine: { lineStyle: { color: colours.line } }, axisTick: { show: false } },
    series: [{ name: "Added", type: "bar", barMaxWidth: 18, data: shown.map(([name, added], place) => ({ value: added, itemStyle: { color: place === 0 && shown.length > 12 ? colours.muted : colours.blue } })) }],
  };
}

function draw(id, options) {
  const place = document.getElementById(id);
  if (!place) return;
  const chart = window.echarts.init(place, null, { renderer: "canvas" });
  chart.setOption(options(look()));
  charts.push([chart, options]);
}

if (data && window.echarts) {
  draw("chart-used", used);
  draw("chart-days", days);
  draw("chart-vms", vms);
  window.addEventListener("resize", () => charts.forEach(([chart]) => chart.resize()));
  new MutationObserver(() => charts.forEach(([chart, options]) => chart.setOption(options(look())))).observe(
    document.documentElement, { attributeFilter: ["data-bs-theme"] });
}
