"use strict";
// Samples: two checkpoints' answers side by side, filtered by what became of them.
const Samples = (() => {
  const { Browser, fill, later, load, option, shownChange, shownValue, terms } = browsing;
  const { ANSWER, BESIDE, CHARS, FLAGS, FLAG, PROMPT, VALUE, detail, title } = sampled;

  const count = (n) => n.toLocaleString("en");

  return class Samples {
    constructor(root, index) {
      this.index = index.benchmarks;
      this.points = index.points;
      this.browser = new Browser(root, this);
      this.picture = new Scatter(root.querySelector(".overview"), (picked) => this.pick(picked));
      const { group, a, b, kind, category, length, query, marks } = this.browser.controls;
      fill(
        group,
        this.index.flatMap((bench, i) => bench.groups.map((g, k) => option(`${i}/${k}`, `${bench.title}: ${g.label}`))),
      );
      group.addEventListener("change", () => this.open(...group.value.split("/").map(Number)));
      for (const select of [a, b]) select.addEventListener("change", () => this.recount());
      for (const select of [category, length]) select.addEventListener("change", () => this.recount());
      kind.addEventListener("change", () => this.draw());
      query.addEventListener("input", later(() => this.recount()));
      marks.addEventListener("change", () => this.browser.show());
      root.querySelector("[data-action=swap]").addEventListener("click", () => {
        [a.value, b.value] = [b.value, a.value];
        this.recount();
      });
      for (const format of ["csv", "json"]) {
        root.querySelector(`[data-action=${format}]`).addEventListener("click", () => download[format](this.listed()));
      }
    }

    // A benchmark's metric; the checkpoints stay where both benchmarks have them.
    async open(i, k, pair, wanted) {
      const bench = this.index[i];
      const { group, a, b, category, length } = this.browser.controls;
      const kept = this.bench ? this.pair.map((n) => bench.checkpoints.indexOf(this.bench.checkpoints[n])) : [-1];
      const turn = (this.turn = (this.turn ?? 0) + 1);
      const blob = await load(bench.blob);
      if (turn !== this.turn) return; // something else was asked for meanwhile
      Object.assign(this, { bench, blob, number: k, group: bench.groups[k] });
      blob.lower ??= blob.texts.map((t) => t.toLowerCase());
      group.value = `${i}/${k}`;
      const [first, second] = pair ?? (kept.includes(-1) ? bench.start : kept);
      for (const [select, at] of [[a, first], [b, second]]) {
        fill(select, bench.checkpoints.map((name, n) => option(n, name)), at);
      }
      const named = new Map();
      for (const s of this.own()) named.set(s[2], (named.get(s[2]) ?? 0) + 1);
      const parts = [...named].map(([n, found]) => option(n, `${blob.names[n] || "none"} (${count(found)})`));
      fill(category, [option("", "All"), ...parts], "");
      category.closest("label").hidden = parts.length < 2;
      length.closest("label").hidden = !this.own().some((s) => s[4].some((side) => side?.[CHARS] > 0));
      this.recount(wanted);
    }

    get pair() {
      return [Number(this.browser.controls.a.value), Number(this.browser.controls.b.value)];
    }

    get names() {
      return this.pair.map((n) => this.bench.checkpoints[n]);
    }

    // The samples of the chosen metric.
    own() {
      return this.blob.samples.filter((s) => s[1] === this.number);
    }

    match(sample, a, b) {
      const stored = sample[5][`${Math.min(a, b)},${Math.max(a, b)}`];
      if (!stored) return null;
      const [value, reason, judged, flags] = stored;
      return { values: a < b ? [value, value === null ? null : 1 - value] : [value === null ? null : 1 - value, value], reason, judged, flags };
    }

    // What the list says of a sample under the two checkpoints.
    seen(sample) {
      const [a, b] = this.pair;
      const sides = [sample[4][a], sample[4][b]];
      const match = this.match(sample, a, b);
      const values = match ? match.values : sides.map((s) => s?.[VALUE] ?? null);
      const flags = sides.reduce((all, s) => all | (s?.[FLAGS] ?? 0), match?.flags ?? 0);
      const known = values[0] !== null && values[1] !== null;
      const change = known ? values[1] - values[0] : null;
      const middle = this.group.middle;
      const flipped = known && middle !== null && (values[0] - middle) * (values[1] - middle) < 0;
      const gain = change === null ? 0 : Math.sign(change) * this.group.better;
      const chars = sides.map((s) => s?.[CHARS] ?? null);
      return { sample, sides, match, values, change, flags, flipped, gain, chars, prompt: this.prompt(sides) };
    }

    prompt(sides) {
      return sides.map((s) => (s ? this.blob.texts[s[PROMPT]] : "")).find(Boolean) ?? "";
    }

    recount(wanted) {
      const { kind, category, length } = this.browser.controls;
      const query = terms(this.browser.controls.query.value);
      const all = this.own().map((s) => this.seen(s)).filter((x) => x.sides[0] || x.sides[1]);
      const lengths = this.lengths(all);
      fill(length, lengths.map(([name, label]) => option(name, label)), wanted || !length.value ? "all" : length.value);
      const long = (lengths.find(([name]) => name === length.value) ?? lengths[0])[2];
      this.all = all.filter(
        (x) => (!category.value || x.sample[2] === Number(category.value)) && long(x) && query.every((term) => this.found(x, term)),
      );
      const size = (x) => (x.change === null ? -1 : Math.abs(x.change)); // what is not scored comes last
      this.all.sort((x, y) => size(y) - size(x));
      const kinds = this.kinds();
      const chosen = wanted || !kind.value ? "all" : kind.value;
      fill(kind, kinds.map(([name, label, test]) => option(name, `${label} (${count(this.all.filter(test).length)})`)), chosen);
      this.tests = Object.fromEntries(kinds.map(([name, , test]) => [name, test]));
      this.draw(wanted ?? this.browser.items[this.browser.at]?.sample);
    }

    // The picture of what the filters leave, and the list; what was picked in a former picture is let go.
    draw(sample = this.browser.items[this.browser.at]?.sample) {
      this.picked = null;
      this.picture.show(this.filtered(), this.group, this.names);
      this.browser.refresh(this.all.find((x) => x.sample === sample));
    }

    pick(picked) {
      this.picked = picked;
      this.browser.refresh();
    }

    kinds() {
      const [a, b] = this.names;
      const duel = this.all.some((x) => x.match);
      return [
        ["all", "All", () => true],
        ["flipped", "Flipped", (x) => x.flipped],
        ["regressed", duel ? `${a} won` : "Regressed", (x) => x.gain < 0],
        ["improved", duel ? `${b} won` : "Improved", (x) => x.gain > 0],
        ["disagreeing", "Orders disagree", (x) => x.flags & FLAG.disagreeing],
        ["unparsed", "Failed to parse", (x) => x.flags & FLAG.unparsed],
        ["truncated", "Truncated", (x) => x.flags & FLAG.truncated],
        ["unscored", "Not scored", (x) => x.values.includes(null)],
      ];
    }

    // By how the two answers' lengths compare, and by thirds of the longer one's.
    lengths(all) {
      const both = (test) => (x) => x.chars[0] !== null && x.chars[1] !== null && test(x.chars[1] + 1, x.chars[0] + 1);
      const longer = (x) => Math.max(...x.chars.map((n) => n ?? -1));
      const sorted = all.map(longer).filter((n) => n >= 0).sort((m, n) => m - n);
      const [first, second] = [1, 2].map((k) => sorted[Math.floor((k * sorted.length) / 3)] ?? 0);
      return [
        ["all", "Any", () => true],
        ["grown", "B 1.5 times as long, or more", both((b, a) => b >= 1.5 * a)],
        ["shrunk", "B two thirds as long, or less", both((b, a) => 1.5 * b <= a)],
        ["alike", "Alike", both((b, a) => b < 1.5 * a && 1.5 * b > a)],
        ["short", `The longer up to ${count(first)} characters`, (x) => longer(x) >= 0 && longer(x) <= first],
        ["middle", `… ${count(first + 1)} to ${count(second)}`, (x) => longer(x) > first && longer(x) <= second],
        ["long", `… above ${count(second)}`, (x) => longer(x) > second],
      ];
    }

    found(x, term) {
      if (x.sample[0].toLowerCase().includes(term)) return true;
      if (this.blob.names[x.sample[2]].toLowerCase().includes(term)) return true;
      const within = (i) => i >= 0 && this.blob.lower[i].includes(term);
      return x.sides.some((s) => s && (within(s[PROMPT]) || within(s[ANSWER]) || s[BESIDE].some((i, k) => k % 2 && within(i))));
    }

    // What is listed now, for a file.
    listed() {
      const { kind, category, length, query } = this.browser.controls;
      const chosen = { kind, category, length };
      const filters = Object.entries(chosen).map(([name, select]) => [name, select.selectedOptions[0]?.textContent ?? ""]);
      return {
        bench: this.bench, group: this.group, names: this.names, blob: this.blob, items: this.browser.items, points: this.points,
        filters: Object.fromEntries([...filters, ["search", query.value], ...(this.picked ? [["circle", this.picture.pressed]] : [])]),
      };
    }

    // --- what the browser asks for

    filtered() {
      return this.all.filter(this.tests[this.browser.controls.kind.value]);
    }

    items() {
      return this.picked ? this.filtered().filter((x) => this.picked.has(x)) : this.filtered();
    }

    counted(n) {
      return `${count(n)} of ${count(this.own().length)} samples, the largest difference first`;
    }

    headings() {
      return ["Sample", ...this.names, "Change"];
    }

    line(x) {
      const about = [this.blob.names[x.sample[2]], x.sample[0]].filter(Boolean).join(" \u00b7 ");
      const tone = x.gain > 0 ? "better" : x.gain < 0 ? "worse" : "";
      return [
        ["name", title(x)],
        ["kind", about],
        ["value", shownValue(this.group, x.values[0])],
        ["value", shownValue(this.group, x.values[1])],
        [`change ${tone}`, shownChange(this.group, x.change)],
      ];
    }

    label(x) {
      const [a, b] = this.names;
      const [first, second] = x.values.map((v) => (v === null ? "not scored" : shownValue(this.group, v)));
      const change = x.change === null ? "" : `, difference ${shownChange(this.group, x.change)}`;
      return `${title(x)} ${this.blob.names[x.sample[2]]}: ${a} ${first}, ${b} ${second}${change}`;
    }

    address(x) {
      return `#sample=${[this.bench.key, x.sample[0], ...this.names].map(encodeURIComponent).join("/")}`;
    }

    detail(x, marks) {
      return detail(this, x, marks);
    }

    // Holds another checkpoint against A.
    against(n) {
      this.browser.controls.b.value = String(n);
      this.recount();
      this.browser.detail.focus({ preventScroll: true });
    }

    // --- links: #sample=BENCHMARK/ID/A/B; without an id, the list of that benchmark and pair

    async follow(parts) {
      this.begun = true;
      const [key, id, a, b] = parts;
      const i = this.index.findIndex((bench) => bench.key === key);
      if (i < 0) return this.lost(parts);
      const bench = this.index[i];
      const sample = (await load(bench.blob)).samples.find((s) => s[0] === id);
      const pair = [a, b].map((name) => bench.checkpoints.indexOf(name));
      if ((id && !sample) || (a && pair[0] < 0) || (b && pair[1] < 0)) return this.lost(parts);
      this.browser.controls.query.value = "";
      await this.open(i, sample ? sample[1] : 0, pair.map((n, k) => (n < 0 ? bench.start[k] : n)), sample);
    }

    async lost(parts) {
      if (!this.blob) await this.open(0, 0);
      this.browser.count.textContent = `The link leads to no sample of this page: ${parts.join(" / ")}`;
    }

    async begin() {
      if (this.begun) return;
      this.begun = true;
      await this.open(0, 0);
    }
  };
})();
