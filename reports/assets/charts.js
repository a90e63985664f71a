"use strict";
// Draws the page's charts with Observable Plot from the data in #charts. The tables beside them hold the same numbers.
(() => {
  const specs = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const printing = matchMedia("print");
  const isDark = () => dark.matches && !printing.matches;
  const ordinal = () => isDark()
    ? ["#8fb4ff", "#f0c873", "#6fce97", "#f3938b", "#c9a6ff", "#7fd6e0", "#d7dbe2", "#e59ad0"]
    : ["#2a56b0", "#b26a00", "#1a6b3c", "#a3261f", "#6d3fb5", "#0f7280", "#4a5160", "#a02f7c"];
  const known = (rows, ...names) => rows.filter((r) => names.every((n) => r[n] !== null && r[n] !== undefined));
  const unique = (rows, name) => [...new Set(rows.map((r) => r[name]).filter((v) => v !== undefined && v !== null))];
  const longest = (names) => Math.max(3, ...names.map((n) => String(n ?? "").length));
  const given = (value) => value !== undefined && value !== null;
  const domain = (spec) => (spec.options.domain ? { domain: spec.options.domain } : {});

  // Models keep their colour through the page: the base grey, baselines ochre, iterations ever stronger blue.
  const iteration = (name) => /^M[1-9]\d*$/.test(name);
  const colors = (names) => {
    if (!names.some((n) => /^M\d+$/.test(n))) return names.map((_, i) => ordinal()[i % 8]);
    const steps = names.filter(iteration);
    const blue = isDark() ? d3.interpolateRgb("#4f6fb3", "#a9c8ff") : d3.interpolateRgb("#86aee8", "#173a86");
    return names.map((n) => iteration(n) ? blue(steps.length > 1 ? steps.indexOf(n) / (steps.length - 1) : 1)
      : n === "M0" ? (isDark() ? "#8b93a0" : "#8a909b") : (isDark() ? "#e0b15c" : "#b26a00"));
  };
  const scales = {
    outcomes: () => (isDark() ? { win: "#4aa56f", tie: "#5a626e", loss: "#c4655d" } : { win: "#4f9f72", tie: "#c9cdd4", loss: "#cf7a72" }),
    grades: (parts) => Object.fromEntries(parts.map((p, i) => {
      const t = parts.length > 1 ? 1 - i / (parts.length - 1) : 1;
      return [p, isDark() ? d3.interpolateRgb("#2a3346", "#a9c8ff")(t) : d3.interpolateRgb("#dfe8f6", "#1d4490")(t)];
    })),
  };
  const base = (width, spec) => ({
    width, style: { background: "none", color: "currentColor", fontSize: "12px", overflow: "visible" }, ariaLabel: spec.title,
  });
  const told = (r) => {
    const digits = (v) => (Math.abs(v) >= 100 ? v.toFixed(0) : Math.abs(v) >= 10 ? v.toFixed(1) : v.toPrecision(3));
    const value = given(r.value) ? r.value : r.y;
    const range = given(r.low) && given(r.high) ? ` [${digits(r.low)}, ${digits(r.high)}]` : "";
    return `${[...new Set([r.label, r.series, r.x])].filter(given).filter((s) => s !== "").join(", ")}\n${digits(value)}${range}`;
  };
  // Names below an axis: slanted where they would run into each other, and of very many some, the last one among them.
  const named = (names, width, short = (name) => String(name)) => {
    const wide = 6.6 * longest(names.map(short)) + 8, room = width / Math.max(1, names.length);
    const slanted = wide > room, every = slanted ? Math.ceil(19 / room) : 1;
    return {
      deep: slanted ? 0.62 * wide : 0,
      axis: { ticks: names.filter((_, i) => (names.length - 1 - i) % every === 0), tickFormat: short, ...(slanted ? { tickRotate: -40 } : {}) },
    };
  };
  // A word that is longer than the room beside an axis is cut; words go on in the next line.
  const fitting = (room) => (text) => {
    const most = Math.max(6, Math.floor(room / 6.6 + 0.01));
    return String(text ?? "").replace(/\S+/g, (word) => (word.length > most ? `${word.slice(0, most - 1)}…` : word));
  };
  const rule = (spec, mark) => (given(spec.options.zero) ? mark([spec.options.zero], { strokeDasharray: "3,3", strokeOpacity: 0.7 }) : null);

  const draw = {
    dots(spec, width) {
      const { rows } = spec;
      const labels = unique(rows, "label"), series = unique(rows, "series");
      const facet = series.length > 1 && labels.length > 1;
      const y = series.length > 1 ? "series" : "label";
      const names = series.length > 1 ? series : labels;
      const left = Math.min(Math.max(44, 6.6 * longest(facet ? labels : names) + 12), width * 0.42);
      const step = facet ? (series.length > 3 ? 9 : 11) : 24;
      const wrap = { label: null, lineWidth: left / 12.5, tickSize: 0, tickFormat: fitting(left - 12) };
      const common = { y, fy: facet ? "label" : undefined };
      return Plot.plot({
        ...base(width, spec), marginLeft: left, marginRight: 14, marginTop: 8, marginBottom: 40,
        x: { label: spec.options.x ?? null, grid: true, ticks: Math.max(3, Math.min(8, (width - left - 14) / 90)), nice: true, labelArrow: "none", ...domain(spec) },
        y: { label: null, axis: null, domain: names, padding: facet ? 0.8 : 0.5 },
        fy: facet ? { label: null, axis: null, domain: labels, padding: 0.16 } : undefined,
        color: { domain: names, range: colors(names), legend: facet },
        height: (facet ? labels.length * (series.length * step + 8) : names.length * step) + 50,
        marks: [
          facet ? Plot.axisFy({ ...wrap, anchor: "left" }) : Plot.axisY({ ...wrap, anchor: "left" }),
          rule(spec, Plot.ruleX),
          Plot.ruleY(known(rows, "low", "high"), { ...common, x1: "low", x2: "high", stroke: y, strokeWidth: 1.8, strokeOpacity: 0.75 }),
          Plot.dot(known(rows, "value"), { ...common, x: "value", fill: y, r: facet ? 3.4 : 4.2 }),
          Plot.tip(known(rows, "value"), Plot.pointer({ ...common, x: "value", title: told })),
        ],
      });
    },
    checkpoints(spec, width) {
      const box = document.createElement("div");
      box.className = "checkpoints";
      const names = unique(spec.rows, "x");
      const columns = Math.max(1, Math.min(3, Math.floor(width / 280)));
      const each = Math.floor((width - 16 * (columns - 1)) / columns);
      const short = (name) => (name.length > 10 ? `${name.slice(0, 9)}…` : name);
      const fits = (each - 24) / 7; // letters of a title in a line
      const lines = Math.min(3, Math.max(1, ...spec.options.panels.map((panel) => Math.ceil(panel.name.length / fits))));
      for (const panel of spec.options.panels) {
        const rows = spec.rows.filter((r) => r.panel === panel.name);
        const chain = known(rows.filter((r) => r.line), "y"), levels = known(rows.filter((r) => r.level), "y");
        const points = known(rows.filter((r) => !r.level), "y");
        const there = names.filter((n) => spec.rows.some((r) => r.x === n && !r.level)); // one axis for all
        const color = (r) => r.x;
        const { deep, axis } = named(there, each - 78, short);
        const plot = Plot.plot({
          ...base(each, { title: panel.name }), height: (panel.below ? 100 : 140) + 12 * lines + deep, marginLeft: 44, marginRight: 34, marginTop: 16 + 12 * lines, marginBottom: 26 + deep,
          x: { type: "point", domain: there, label: null, tickSize: 0, ...axis },
          y: { label: null, grid: true, ticks: 4, nice: true },
          color: { domain: names, range: colors(names) },
          marks: [
            Plot.areaY(known(chain, "low", "high"), { x: "x", y1: "low", y2: "high", fill: "currentColor", fillOpacity: 0.1 }),
            Plot.ruleY(levels, { y: "y", stroke: color, strokeDasharray: "5,3", strokeWidth: 1.5 }),
            Plot.text(levels, { y: "y", text: (r) => short(r.x), frameAnchor: "right", dx: 31, fill: color, textAnchor: "end" }),
            Plot.lineY(chain, { x: "x", y: "y", stroke: "currentColor", strokeOpacity: 0.45, strokeWidth: 1.5 }),
            Plot.ruleX(known(points, "low", "high"), { x: "x", y1: "low", y2: "high", stroke: color, strokeWidth: 1.6 }),
            Plot.dot(points, { x: "x", y: "y", fill: color, r: 3.6 }),
            Plot.text([panel.name], { frameAnchor: "top-left", dx: -40, dy: -12, text: (d) => d, fontWeight: 600, textAnchor: "start", lineAnchor: "bottom", lineWidth: (each - 24) / 13.5 }),
            Plot.tip(points, Plot.pointerX({ x: "x", y: "y", title: told })),
          ],
        });
        plot.setAttribute("data-below", panel.below ? "yes" : "no");
        box.append(plot);
      }
      return box;
    },
    spark(spec, width) {
      const rows = known(spec.rows, "value");
      const names = unique(rows, "x");
      const color = (r) => r.x;
      return Plot.plot({
        ...base(width, spec), height: 38, margin: 5, marginTop: 6, marginBottom: 6, axis: null,
        x: { type: "point", domain: names }, y: { nice: false, ...domain(spec) },
        color: { domain: names, range: colors(names) },
        marks: [
          Plot.line(rows.filter((r) => r.line), { x: "x", y: "value", stroke: "currentColor", strokeOpacity: 0.3, strokeWidth: 1.2 }),
          Plot.ruleX(known(rows, "low", "high"), { x: "x", y1: "low", y2: "high", stroke: color, strokeWidth: 1.6, strokeOpacity: 0.6 }),
          Plot.dot(rows, { x: "x", y: "value", fill: color, r: 3 }),
        ],
      });
    },
    lines(spec, width) {
      const series = unique(spec.rows, "series");
      const many = series.length > 1;
      const color = many ? "series" : () => "";
      const points = typeof spec.rows[0]?.x === "string";
      const smooth = spec.options.smooth;
      const apart = spec.rows.filter((r) => r.apart), chained = spec.rows.filter((r) => !r.apart);
      const domainX = unique(spec.rows, "x"), { deep, axis } = points ? named(domainX, width - 72) : { deep: 0, axis: {} };
      return Plot.plot({
        ...base(width, spec), height: 240 + deep, marginLeft: 52, marginBottom: 30 + deep,
        x: { label: spec.options.x ?? null, ...(points ? { type: "point", domain: domainX, ...axis } : {}) },
        y: { label: spec.options.y ?? null, grid: true, ...domain(spec) },
        color: { domain: many ? series : [""], range: many ? colors(series) : ordinal(), legend: many },
        marks: [
          rule(spec, Plot.ruleY),
          Plot.areaY(known(chained, "low", "high"), { x: "x", y1: "low", y2: "high", z: "series", fill: color, fillOpacity: 0.15 }),
          Plot.ruleX(known(apart, "low", "high"), { x: "x", y1: "low", y2: "high", stroke: color, strokeOpacity: 0.6 }),
          Plot.lineY(known(chained, "y"), { x: "x", y: "y", z: "series", stroke: color, strokeWidth: smooth ? 1 : 1.8, strokeOpacity: smooth ? 0.28 : 1 }),
          smooth ? Plot.lineY(known(spec.rows, "y"), Plot.windowY({ k: smooth, anchor: "middle" }, { x: "x", y: "y", z: "series", stroke: color, strokeWidth: 2 })) : null,
          points || spec.rows.length < 40 ? Plot.dot(known(spec.rows, "y"), { x: "x", y: "y", fill: color, r: 3.5 }) : null,
          Plot.tip(known(spec.rows, "y"), Plot.pointerX({ x: "x", y: "y", title: told })),
        ],
      });
    },
    bars(spec, width) {
      const parts = unique(spec.rows, "part"), labels = unique(spec.rows, "label");
      const left = Math.min(Math.max(40, 6.6 * longest(labels) + 12), width * 0.4);
      const scale = scales[spec.options.scale]?.(parts);
      const range = scale ? parts.map((p) => scale[p] ?? ordinal()[0]) : colors(parts);
      return Plot.plot({
        ...base(width, spec), marginLeft: left, marginTop: 6, marginBottom: 40, height: labels.length * 26 + 50,
        x: { label: spec.options.x ?? null, labelArrow: "none", ticks: Math.max(3, Math.min(8, (width - left - 14) / 90)), ...domain(spec) },
        y: { label: null, domain: labels, tickSize: 0, padding: 0.22, tickFormat: fitting(left - 12) },
        color: { domain: parts, range, legend: parts.length > 1 },
        marks: [
          Plot.barX(known(spec.rows, "value"), { x: "value", y: "label", fill: "part", order: parts, insetRight: 0.5 }),
          Plot.tip(known(spec.rows, "value"), Plot.pointer(Plot.stackX({ x: "value", y: "label", order: parts, z: "part",
            title: (r) => `${r.label}, ${r.part}\n${r.value.toFixed(1)}` }))),
        ],
      });
    },
    matrix(spec, width) {
      const rows = known(spec.rows, "value");
      const order = (name) => (spec.options.order ? spec.options.order.filter((n) => rows.some((r) => r[name] === n)) : unique(rows, name));
      const left = Math.min(Math.max(64, 7 * longest(order("row")) + 34), width * 0.35);
      const middle = spec.options.zero;
      const values = rows.map((r) => r.value);
      const [least, most] = [Math.min(...values), Math.max(...values)];
      const reach = given(middle) ? Math.max(1e-9, ...values.map((v) => Math.abs(v - middle))) : most - least || 1;
      const tones = isDark() ? ["#b8625b", "#2b3038", "#4f7fd6"] : ["#d98a80", "#f4f4f2", "#7fa6e6"];
      const shade = given(middle)
        ? { type: "diverging", pivot: middle, domain: [middle - reach, middle + reach], interpolate: d3.interpolateRgbBasis(tones) }
        : { type: "linear", domain: [least, most === least ? least + 1 : most], interpolate: isDark() ? d3.interpolateRgb("#222a38", "#4f7fd6") : d3.interpolateRgb("#eef3fb", "#7fa6e6") };
      const columns = order("column");
      const whole = Math.min(width, left + 20 + 92 * columns.length), written = (whole - left - 20) / columns.length >= 38;
      const { deep, axis } = named(columns, whole - left - 20, fitting(88));
      return Plot.plot({
        ...base(whole, spec), marginLeft: left, marginTop: 42 + deep, marginBottom: 6,
        height: order("row").length * (written ? 36 : 18) + 54 + deep, padding: 0.04,
        x: { label: spec.options.x ?? null, axis: "top", domain: columns, tickSize: 0, labelArrow: "none", ...axis },
        y: { label: spec.options.y ?? null, domain: order("row"), tickSize: 0, labelArrow: "none", tickFormat: fitting(left - 34) }, color: shade,
        marks: [
          Plot.cell(rows, { x: "column", y: "row", fill: "value", inset: 0.5, rx: 3 }),
          written
            ? Plot.text(rows, { x: "column", y: "row", text: "text", fill: isDark() ? "#f2f4f7" : "#14181e", fontVariant: "tabular-nums" })
            : Plot.tip(rows, Plot.pointer({ x: "column", y: "row", title: (r) => `${r.row}, ${r.column}\n${r.text}` })),
        ],
      });
    },
    histogram(spec, width) {
      const series = unique(spec.rows, "series");
      const many = series.length > 1;
      return Plot.plot({
        ...base(width, spec), height: many ? 90 * series.length + 40 : 200, marginRight: many ? 70 : 20,
        x: { label: spec.options.x ?? null, domain: unique(spec.rows, "label"), type: "band", padding: 0.15 },
        y: { label: spec.options.y ?? null, grid: true, ticks: 3 },
        fy: many ? { label: null, domain: series } : undefined,
        color: { domain: many ? series : [""], range: many ? colors(series) : ordinal() },
        marks: [
          Plot.barY(known(spec.rows, "value"), { x: "label", y: "value", fy: many ? "series" : undefined, fill: many ? "series" : () => "", tip: true }),
          Plot.ruleY([0]),
        ],
      });
    },
  };

  const render = (figure) => {
    const spec = specs[figure.dataset.chart];
    if (!spec || !draw[spec.kind] || !figure.clientWidth) return;
    const small = spec.kind === "spark";
    const width = small ? figure.clientWidth : Math.max(260, figure.clientWidth);
    if (figure.dataset.width === String(width)) return;
    figure.dataset.width = String(width);
    const drawn = draw[spec.kind](spec, width);
    const pictures = drawn.matches("svg") ? [drawn] : [...drawn.querySelectorAll(":scope > svg")];
    pictures.forEach((p) => p.setAttribute("role", "img"));
    drawn.querySelectorAll("g[aria-label]").forEach((g) => g.removeAttribute("aria-label")); // a picture has one name
    pictures.forEach((p) => p.querySelectorAll("[aria-label]").forEach((part) => part.removeAttribute("aria-label"))); // the whole has one
    const caption = document.createElement("figcaption");
    caption.textContent = spec.title;
    caption.hidden = small;
    figure.replaceChildren(caption, drawn);
  };
  const figures = [...document.querySelectorAll("figure[data-chart]")];
  const seen = new IntersectionObserver((entries) => entries.forEach((e) => e.isIntersecting && render(e.target)), { rootMargin: "400px" });
  figures.forEach((f) => seen.observe(f));

  // Charts above a link's target are drawn before the page goes there, or it would be pushed away when they are.
  const ahead = (link) => {
    const target = link?.startsWith("#") ? document.getElementById(link.slice(1)) : null;
    if (target) figures.filter((f) => f.compareDocumentPosition(target) & Node.DOCUMENT_POSITION_FOLLOWING).forEach(render);
    return target;
  };
  addEventListener("click", (event) => ahead(event.target.closest("a")?.getAttribute("href")));
  ahead(location.hash)?.scrollIntoView({ behavior: "instant" });

  const again = () => figures.filter((f) => f.dataset.width).forEach((f) => { delete f.dataset.width; render(f); });
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(again, 150); });
  dark.addEventListener("change", again);
  printing.addEventListener("change", () => { figures.forEach((f) => delete f.dataset.width); figures.forEach(render); });
})();
