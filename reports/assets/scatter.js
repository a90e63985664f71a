"use strict";
// One checkpoint's values against another's: a circle for each pair of values, as large as there are samples. A press on
// one lists its samples; arrow keys go from circle to circle.
const Scatter = (() => {
  const { make, shownValue } = browsing;

  const SIZE = 270, LEFT = 58, TOP = 12, RIGHT = 14, BOTTOM = 44;
  const FEW = 13; // values that are drawn as they are; of more, bins
  const BINS = 10;

  const draw = (tag, attributes, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const short = (name) => (name.length > 28 ? `${name.slice(0, 27)}\u2026` : name);

  // Where a value stands, and what is said of its place.
  const placed = (values, group) => {
    const distinct = [...new Set(values)].sort((p, q) => p - q);
    const [low, high] = [distinct[0], distinct.at(-1)];
    if (distinct.length <= FEW) return { low, high, step: (high - low) / Math.max(1, distinct.length - 1), at: (v) => v, told: (v) => shownValue(group, v), ticks: distinct };
    const width = (high - low) / BINS;
    const at = (v) => low + (Math.min(BINS - 1, Math.floor((v - low) / width)) + 0.5) * width;
    const told = (v) => `${shownValue(group, v - width / 2)} to ${shownValue(group, v + width / 2)}`;
    return { low, high, step: width, at, told, ticks: Array.from({ length: 5 }, (_, k) => low + (k * (high - low)) / 4) };
  };

  return class Scatter {
    constructor(root, picked) {
      Object.assign(this, { root, picked });
      this.figure = root.querySelector(".scatter");
      this.summary = root.querySelector(".summary");
    }

    show(items, group, names) {
      const scored = items.filter((x) => x.change !== null);
      const told = [["improved", (x) => x.gain > 0], ["regressed", (x) => x.gain < 0], ["the same", (x) => x.change === 0], ["flipped", (x) => x.flipped]];
      const counts = told.map(([word, test]) => `${word} ${scored.filter(test).length.toLocaleString("en")}`);
      if (scored.length < items.length) counts.push(`not scored ${(items.length - scored.length).toLocaleString("en")}`);
      this.drawable = scored.length > 0 && !items.some((x) => x.match);
      this.summary.replaceChildren(
        make("p", "", `From ${names[0]} to ${names[1]}: ${counts.join(", ")}.`),
        this.drawable ? make("p", "caption", "Each circle is a pair of values, as large as it has samples; above the line the second is higher. A press lists them, another lets them go.") : "",
      );
      this.figure.replaceChildren(...(this.drawable ? [this.picture(scored, group, names)] : []));
    }

    picture(scored, group, names) {
      const scale = placed(scored.flatMap((x) => x.values), group);
      const span = scale.high - scale.low || 1;
      const [width, height] = [SIZE - LEFT - RIGHT, SIZE - TOP - BOTTOM];
      const pad = 16;
      const x = (v) => LEFT + pad + ((v - scale.low) / span) * (width - 2 * pad);
      const y = (v) => TOP + height - pad - ((v - scale.low) / span) * (height - 2 * pad);
      const bubbles = new Map();
      for (const item of scored) {
        const [a, b] = item.values.map(scale.at);
        const key = `${a} ${b}`;
        if (!bubbles.has(key)) bubbles.set(key, { a, b, items: new Set() });
        bubbles.get(key).items.add(item);
      }
      this.bubbles = [...bubbles.values()].sort((p, q) => q.items.size - p.items.size);
      const most = this.bubbles[0].items.size;
      const reach = Math.min(16, Math.max(5, (0.5 * scale.step * (width - 2 * pad)) / span || 16));
      const ends = [scale.low, scale.high];
      const axis = scale.ticks.filter((_, k) => scale.ticks.length < 8 || k % 2 === 0);
      const svg = draw(
        "svg",
        { viewBox: `0 0 ${SIZE} ${SIZE}`, width: SIZE, height: SIZE, role: "group", "aria-label": `${names[0]} against ${names[1]}, ${group.label}` },
        draw("line", { class: "even", x1: x(ends[0]), y1: y(ends[0]), x2: x(ends[1]), y2: y(ends[1]) }),
        ...axis.map((v) => draw("text", { x: x(v), y: TOP + height + 14, "text-anchor": "middle" }, shownValue(group, v))),
        ...axis.map((v) => draw("text", { x: LEFT - 6, y: y(v) + 4, "text-anchor": "end" }, shownValue(group, v))),
        draw("rect", { class: "frame", x: LEFT, y: TOP, width, height }),
        draw("text", { class: "title", x: LEFT + width / 2, y: SIZE - 8, "text-anchor": "middle" }, short(names[0])),
        draw("text", { class: "title", transform: `translate(12 ${TOP + height / 2}) rotate(-90)`, "text-anchor": "middle" }, short(names[1])),
      );
      this.bubbles.forEach((bubble, k) => svg.append((bubble.drawn = this.bubble(bubble, k, x, y, Math.sqrt(bubble.items.size / most) * reach, scale, group, names))));
      return svg;
    }

    bubble(bubble, k, x, y, size, scale, group, names) {
      const n = bubble.items.size;
      const gain = Math.sign(bubble.b - bubble.a) * group.better;
      const told = `${names[0]} ${scale.told(bubble.a)}, ${names[1]} ${scale.told(bubble.b)}: ${n.toLocaleString("en")} sample${n === 1 ? "" : "s"}`;
      const radius = Math.max(2.5, size);
      Object.assign(bubble, { x: x(bubble.a), y: y(bubble.b) });
      const found = draw(
        "g",
        { role: "button", tabindex: k ? -1 : 0, "aria-pressed": "false", "aria-label": told, class: gain > 0 ? "better" : gain < 0 ? "worse" : "even" },
        draw("title", {}, told),
        draw("circle", { class: "reach", cx: bubble.x, cy: bubble.y, r: Math.max(8, radius) }),
        draw("circle", { class: "dot", cx: bubble.x, cy: bubble.y, r: radius }),
      );
      if (radius > 9) found.append(draw("text", { x: bubble.x, y: bubble.y + 4, "text-anchor": "middle" }, String(n)));
      found.addEventListener("click", () => this.press(bubble));
      found.addEventListener("keydown", (event) => this.key(event, bubble));
      return found;
    }

    // What is said of the circle that was pressed.
    get pressed() {
      return this.bubbles?.map((b) => b.drawn).find((d) => d.getAttribute("aria-pressed") === "true")?.getAttribute("aria-label");
    }

    press(bubble) {
      const on = bubble.drawn.getAttribute("aria-pressed") !== "true";
      for (const b of this.bubbles) b.drawn.setAttribute("aria-pressed", String(on && b === bubble));
      this.picked(on ? bubble.items : null);
    }

    key(event, bubble) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        return this.press(bubble);
      }
      const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!way) return;
      event.preventDefault();
      event.stopPropagation();
      // the nearest one that way, what is askew counting double
      const cost = (b) => {
        const [dx, dy] = [b.x - bubble.x, b.y - bubble.y];
        const along = dx * way[0] + dy * way[1];
        return along > 0.5 ? along + 2 * Math.abs(dx * way[1] + dy * way[0]) : Infinity;
      };
      const next = this.bubbles.reduce((best, b) => (cost(b) < cost(best) ? b : best), bubble);
      if (cost(next) === Infinity) return;
      for (const b of this.bubbles) b.drawn.setAttribute("tabindex", b === next ? 0 : -1);
      next.drawn.focus();
    }
  };
})();
