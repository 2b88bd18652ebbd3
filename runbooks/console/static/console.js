"use strict";
// Two things that the server cannot do: say that nothing comes any more, and draw the chart.

const STALE_MS = 3000; // six beats

function watchBeats(banner) {
  const beat = document.getElementById("beat");
  let heardAt = performance.now();
  document.body.addEventListener("htmx:sseMessage", () => { heardAt = performance.now(); });
  document.body.addEventListener("htmx:sseClose", () => { heardAt = -STALE_MS; });
  setInterval(() => {
    const stale = performance.now() - heardAt > STALE_MS;
    if (stale === document.body.classList.contains("stale")) return;
    document.body.classList.toggle("stale", stale);
    document.getElementById("stale-since").textContent = beat.textContent.trim();
    banner.hidden = !stale;
  }, 500);
}

function drawChart(place) {
  const points = JSON.parse(place.dataset.points);
  if (!points.names.length) { place.remove(); return; }
  const chart = echarts.init(place);
  const draw = () => {
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const text = { color: colour("--soft") };
    chart.setOption({
      animation: false,
      grid: { left: 48, right: 20, top: 34, bottom: 26 },
      legend: { top: 0, right: 0, textStyle: text },
      tooltip: { trigger: "axis", renderMode: "richText" }, // its HTML would bring inline style
      xAxis: { type: "category", data: points.names, axisLabel: { ...text, hideOverlap: true } },
      yAxis: { type: "value", min: 0, axisLabel: { ...text, formatter: "{value} s" },
        splitLine: { lineStyle: { color: colour("--faint") } } },
      series: [
        { name: place.dataset.rto, type: "bar", data: points.seconds, barMaxWidth: 26, itemStyle: { color: colour("--line") } },
        { name: place.dataset.limit, type: "line", symbol: "none", data: points.names.map(() => points.limit),
          lineStyle: { type: "dashed", color: colour("--limit") }, itemStyle: { color: colour("--limit") } },
      ],
    });
  };
  draw();
  addEventListener("resize", () => chart.resize());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

document.addEventListener("DOMContentLoaded", () => {
  const banner = document.getElementById("stale");
  if (banner) watchBeats(banner);
  document.querySelectorAll("[data-points]").forEach(drawChart);
});
