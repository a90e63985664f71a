"use strict";
// Draws the page's charts with Observable Plot from the data in #charts. The tables beside them hold the same numbers.
(() => {
  const specs = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const ordinal = () => dark.matches
    ? ["#8fb4ff", "#f0c873", "#6fce97", "#f3938b", "#c9a6ff", "#7fd6e0", "#d7dbe2", "#e59ad0"]
    : ["#2a56b0", "#b26a00", "#1a6b3c", "#a3261f", "#6d3fb5", "#0f7280", "#4a5160", "#a02f7c"];
  const base = (width, spec) => ({
    width, marginLeft: 60, style: { background: "none", color: "currentColor", fontSize: "12px", overflow: "visible" },
    ariaLabel: spec.title, color: { range: ordinal() },
  });
  const known = (rows, ...names) => rows.filter((r) => names.every((n) => r[n] !== null && r[n] !== undefined));
  const unique = (rows, name) => [...new Set(rows.map((r) => r[name]).filter((v) => v !== undefined && v !== null))];
  const longest = (rows, name) => Math.max(4, ...rows.map((r) => String(r[name] ?? "").length));
  const axis = (spec, name) => spec.options[name] ?? null;
  const domain = (spec) => (spec.options.domain ? { domain: spec.options.domain } : {});

  const draw = {
    dots(spec, width) {
      const series = unique(spec.rows, "series");
      const facet = series.length > 1 && unique(spec.rows, "label").length > 1;
      const rows = spec.rows;
      const y = facet ? "series" : "label";
      const left = Math.min(Math.max(60, 7 * longest(rows, y)), width * 0.4);
      const color = series.length > 1 ? "series" : () => "";
      return Plot.plot({
        ...base(width, spec), marginLeft: left, marginRight: facet ? 90 : 20,
        x: { label: axis(spec, "x"), grid: true, ...domain(spec) },
        y: { label: null, domain: facet ? series : unique(rows, "label") },
        fy: facet ? { label: null, domain: unique(rows, "label") } : undefined,
        color: { range: ordinal(), domain: series.length > 1 ? series : [""], legend: false },
        height: (facet ? unique(rows, "label").length * (series.length * 16 + 14) : unique(rows, "label").length * 26) + 46,
        marks: [
          spec.options.zero === undefined || spec.options.zero === null ? null : Plot.ruleX([spec.options.zero], { strokeDasharray: "3,3" }),
          Plot.ruleY(known(rows, "low", "high"), { x1: "low", x2: "high", y, fy: facet ? "label" : undefined, stroke: color, strokeWidth: 2 }),
          Plot.dot(known(rows, "value"), { x: "value", y, fy: facet ? "label" : undefined, fill: color, r: 4, tip: true,
            channels: { interval: (r) => (r.low === null || r.low === undefined ? "" : `${r.low.toPrecision(4)} to ${r.high.toPrecision(4)}`) } }),
        ],
      });
    },
    lines(spec, width) {
      const series = unique(spec.rows, "series");
      const color = series.length > 1 ? "series" : () => "";
      const points = typeof spec.rows[0]?.x === "string";
      return Plot.plot({
        ...base(width, spec), height: 240,
        x: { label: axis(spec, "x"), ...(points ? { type: "point", domain: unique(spec.rows, "x") } : {}) },
        y: { label: axis(spec, "y"), grid: true, ...domain(spec) },
        color: { range: ordinal(), domain: series.length > 1 ? series : [""], legend: series.length > 1 },
        marks: [
          spec.options.zero === undefined || spec.options.zero === null ? null : Plot.ruleY([spec.options.zero], { strokeDasharray: "3,3" }),
          Plot.areaY(known(spec.rows, "low", "high"), { x: "x", y1: "low", y2: "high", z: "series", fill: color, fillOpacity: 0.15 }),
          Plot.lineY(known(spec.rows, "y"), { x: "x", y: "y", z: "series", stroke: color, strokeWidth: 1.8 }),
          points || spec.rows.length < 40 ? Plot.dot(known(spec.rows, "y"), { x: "x", y: "y", fill: color, r: 3.5 }) : null,
          Plot.tip(known(spec.rows, "y"), Plot.pointerX({ x: "x", y: "y", title: (r) => `${r.series ? r.series + "\n" : ""}${r.x}: ${r.y}` })),
        ],
      });
    },
    bars(spec, width) {
      const parts = unique(spec.rows, "part");
      const left = Math.min(Math.max(60, 7 * longest(spec.rows, "label")), width * 0.4);
      return Plot.plot({
        ...base(width, spec), marginLeft: left, height: unique(spec.rows, "label").length * 28 + 46,
        x: { label: axis(spec, "x"), grid: true, ...domain(spec) },
        y: { label: null, domain: unique(spec.rows, "label") },
        color: { range: ordinal(), domain: parts, legend: parts.length > 1 },
        marks: [Plot.barX(known(spec.rows, "value"), { x: "value", y: "label", fill: "part", order: parts, tip: true }), Plot.ruleX([0])],
      });
    },
    matrix(spec, width) {
      const left = Math.min(Math.max(60, 7 * longest(spec.rows, "row")), width * 0.35);
      const middle = spec.options.zero;
      const scheme = middle === undefined || middle === null ? { scheme: "blues" } : { scheme: "rdbu", type: "diverging", pivot: middle };
      const values = known(spec.rows, "value").map((r) => r.value);
      const reach = middle === undefined || middle === null ? null : Math.max(1e-9, ...values.map((v) => Math.abs(v - middle)));
      const light = (v) => reach !== null ? Math.abs(v - middle) / reach > 0.6 : (v - Math.min(...values)) / (Math.max(...values) - Math.min(...values) || 1) > 0.6;
      return Plot.plot({
        ...base(width, spec), marginLeft: left, marginTop: 40, width: Math.min(width, left + 40 + 90 * unique(spec.rows, "column").length),
        height: unique(spec.rows, "row").length * 40 + 60, padding: 0.03,
        x: { label: axis(spec, "x"), axis: "top", domain: unique(spec.rows, "column") },
        y: { label: axis(spec, "y"), domain: unique(spec.rows, "row") }, color: scheme,
        marks: [
          Plot.cell(known(spec.rows, "value"), { x: "column", y: "row", fill: "value", inset: 0.5 }),
          Plot.text(known(spec.rows, "value"), { x: "column", y: "row", text: "text", fill: (r) => (light(r.value) ? "#fff" : "#111") }),
        ],
      });
    },
    histogram(spec, width) {
      const series = unique(spec.rows, "series");
      const many = series.length > 1;
      return Plot.plot({
        ...base(width, spec), height: many ? 90 * series.length + 40 : 200, marginRight: many ? 70 : 20,
        x: { label: axis(spec, "x"), domain: unique(spec.rows, "label"), type: "band", padding: 0.15 },
        y: { label: axis(spec, "y"), grid: true, ticks: 3 },
        fy: many ? { label: null, domain: series } : undefined,
        color: { range: ordinal(), domain: many ? series : [""] },
        marks: [Plot.barY(known(spec.rows, "value"), { x: "label", y: "value", fy: many ? "series" : undefined, fill: many ? "series" : () => "", tip: true }), Plot.ruleY([0])],
      });
    },
  };

  const render = (figure) => {
    const spec = specs[figure.dataset.chart];
    if (!spec || !draw[spec.kind]) return;
    const width = Math.max(260, figure.clientWidth);
    if (figure.dataset.width === String(width)) return;
    figure.dataset.width = String(width);
    const caption = document.createElement("figcaption");
    caption.textContent = spec.title;
    figure.replaceChildren(caption, draw[spec.kind](spec, width));
  };
  const figures = [...document.querySelectorAll("figure[data-chart]")];
  const seen = new IntersectionObserver((entries) => entries.forEach((e) => e.isIntersecting && render(e.target)), { rootMargin: "400px" });
  figures.forEach((f) => seen.observe(f));
  const again = () => figures.filter((f) => f.dataset.width).forEach((f) => { delete f.dataset.width; render(f); });
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(again, 150); });
  dark.addEventListener("change", again);
  addEventListener("beforeprint", () => figures.forEach(render));
})();
