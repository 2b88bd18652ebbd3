"use strict";
// What the server cannot do: say that nothing comes any more, how long a look was on the screen, and draw charts.

const STALE_MS = 3000; // six beats
const BEAT_MS = 10000;

function watchBeats(banner) {
  let heardAt = performance.now();
  const hear = () => { heardAt = performance.now(); };
  document.body.addEventListener("htmx:sseMessage", hear);
  document.body.addEventListener("htmx:afterSwap", hear);
  document.body.addEventListener("htmx:sseClose", () => { heardAt = -STALE_MS; });
  setInterval(() => {
    const stale = performance.now() - heardAt > STALE_MS && !document.querySelector("[data-over]");
    if (stale === document.body.classList.contains("stale")) return;
    document.body.classList.toggle("stale", stale);
    document.getElementById("stale-since").textContent = document.getElementById("beat")?.textContent.trim() ?? "";
    banner.hidden = !stale;
  }, 500);
}

// A page that asks now and then whether both sites are seen: without an answer it says of when it is.
function watchConsole(gone) {
  let at = document.getElementById("unseen").dataset.at;
  document.body.addEventListener("htmx:afterRequest", (event) => {
    if (!event.detail.pathInfo.requestPath.startsWith("/sites-seen")) return;
    if (event.detail.successful) at = event.detail.xhr.getResponseHeader("Biyi-Read-At") ?? at;
    document.getElementById("gone-since").textContent = at;
    document.body.classList.toggle("gone", !event.detail.successful);
    gone.hidden = event.detail.successful;
  });
}

// Only time in which the page could be seen counts; the last word is sent when it is left.
function watchDwell(places) {
  const form = places[0].dataset.form;
  const looks = places.map((place) => place.dataset.looks).join(",");
  const shown = document.getElementById("dwell");
  let dwellMs = 0, seenAt = document.hidden ? null : performance.now(), ended = false;
  const count = () => {
    const now = performance.now();
    if (seenAt !== null) { dwellMs += now - seenAt; seenAt = now; }
    return Math.round(dwellMs);
  };
  const body = () => new URLSearchParams({ form, looks, dwell_ms: String(count()) });
  document.addEventListener("visibilitychange", () => { count(); seenAt = document.hidden ? null : performance.now(); });
  setInterval(() => { if (shown) shown.textContent = String(Math.round(count() / 1000)); }, 1000);
  setInterval(() => { fetch("/customers/beats", { method: "POST", body: body() }).catch(() => {}); }, BEAT_MS);
  addEventListener("pagehide", () => {
    if (ended) return;
    ended = true;
    navigator.sendBeacon("/customers/ends", body());
  });
  addEventListener("pageshow", (event) => { if (event.persisted) location.replace("/customers"); });
}

const DRAW = {
  // One bar a drill, and the promised limit.
  limit: (place, points, colour) => ({
    unit: "{value} s",
    series: [
      { name: place.dataset.rto, type: "bar", data: points.seconds, barMaxWidth: 26, itemStyle: { color: colour("--line") } },
      { name: place.dataset.limit, type: "line", symbol: "none", data: points.names.map(() => points.limit),
        lineStyle: { type: "dashed", color: colour("--limit") }, itemStyle: { color: colour("--limit") } },
    ],
  }),
  scores: (place, points, colour) => ({
    unit: "{value}", max: 100,
    series: [
      { name: place.dataset.name, type: "line", symbolSize: 9, data: points.values, itemStyle: { color: colour("--line") } },
      ...points.levels.map((level) => ({ type: "line", symbol: "none", silent: true, data: points.names.map(() => level),
        lineStyle: { type: "dashed", width: 1, color: colour("--faint") } })),
    ],
  }),
  accesses: (place, points, colour) => ({
    unit: "{value}", second: "{value} s",
    series: [
      { name: place.dataset.name, type: "bar", data: points.counts, barMaxWidth: 18, itemStyle: { color: colour("--line") } },
      { name: place.dataset.second, type: "line", symbol: "none", yAxisIndex: 1, data: points.seconds,
        lineStyle: { color: colour("--limit") }, itemStyle: { color: colour("--limit") } },
    ],
  }),
};

function drawChart(place) {
  const points = JSON.parse(place.dataset.points);
  if (!points.names.length) { place.remove(); return; }
  const chart = echarts.init(place);
  const draw = () => {
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const text = { color: colour("--soft") };
    const { unit, second, max, series } = DRAW[place.dataset.draw ?? "limit"](place, points, colour);
    const axis = (formatter, lines) => ({ type: "value", min: 0, max, axisLabel: { ...text, formatter },
      splitLine: { show: lines, lineStyle: { color: colour("--faint") } } });
    chart.setOption({
      animation: false,
      grid: { left: 48, right: second ? 56 : 20, top: 34, bottom: 26 },
      legend: { top: 0, right: 0, textStyle: text, data: series.filter((one) => one.name).map((one) => one.name) },
      tooltip: { trigger: "axis", renderMode: "richText" }, // its HTML would bring inline style
      xAxis: { type: "category", data: points.names, axisLabel: { ...text, hideOverlap: true } },
      yAxis: second ? [axis(unit, true), axis(second, false)] : axis(unit, true),
      series,
    });
  };
  draw();
  addEventListener("resize", () => chart.resize());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

document.addEventListener("DOMContentLoaded", () => {
  const banner = document.getElementById("stale");
  if (banner) watchBeats(banner);
  const gone = document.getElementById("gone");
  if (gone) watchConsole(gone);
  const looks = [...document.querySelectorAll("[data-looks]")];
  if (looks.length) watchDwell(looks);
  document.querySelectorAll("[data-points]").forEach(drawChart);
});
