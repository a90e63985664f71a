"use strict";
// Samples: two checkpoints' answers side by side, filtered by what became of them.
const Samples = (() => {
  const { Browser, compared, fill, labelled, later, load, make, option, shownChange, shownValue, terms } = browsing;

  const TRUNCATED = 1;
  const UNPARSED = 2;
  const DISAGREEING = 4;

  return class Samples {
    constructor(root, index) {
      this.index = index.benchmarks;
      this.browser = new Browser(root, this);
      const { group, a, b, kind, query, marks } = this.browser.controls;
      fill(
        group,
        this.index.flatMap((bench, i) => bench.groups.map((g, k) => option(`${i}/${k}`, `${bench.title}: ${g.label}`))),
      );
      group.addEventListener("change", () => this.open(...group.value.split("/").map(Number)));
      for (const select of [a, b]) select.addEventListener("change", () => this.recount());
      kind.addEventListener("change", () => this.browser.refresh());
      query.addEventListener("input", later(() => this.recount()));
      marks.addEventListener("change", () => this.browser.show());
      root.querySelector("[data-action=swap]").addEventListener("click", () => {
        [a.value, b.value] = [b.value, a.value];
        this.recount();
      });
    }

    // A benchmark's metric; the checkpoints stay where both benchmarks have them.
    async open(i, k, pair, wanted) {
      const bench = this.index[i];
      const { group, a, b } = this.browser.controls;
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
      this.recount(wanted);
    }

    get pair() {
      return [Number(this.browser.controls.a.value), Number(this.browser.controls.b.value)];
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
      const values = match ? match.values : sides.map((s) => s?.[0] ?? null);
      const flags = sides.reduce((all, s) => all | (s?.[7] ?? 0), match?.flags ?? 0);
      const known = values[0] !== null && values[1] !== null;
      const change = known ? values[1] - values[0] : null;
      const middle = this.group.middle;
      const flipped = known && middle !== null && (values[0] - middle) * (values[1] - middle) < 0;
      const gain = change === null ? 0 : Math.sign(change) * this.group.better;
      return { sample, sides, match, values, change, flags, flipped, gain };
    }

    recount(wanted) {
      const query = terms(this.browser.controls.query.value);
      this.all = this.blob.samples
        .filter((s) => s[1] === this.number)
        .map((s) => this.seen(s))
        .filter((x) => (x.sides[0] || x.sides[1]) && query.every((term) => this.found(x, term)));
      const size = (x) => (x.change === null ? -1 : Math.abs(x.change)); // what is not scored comes last
      this.all.sort((x, y) => size(y) - size(x));
      const kinds = this.kinds();
      const { kind } = this.browser.controls;
      const chosen = wanted || !kind.value ? "all" : kind.value;
      fill(kind, kinds.map(([name, label, test]) => option(name, `${label} (${this.all.filter(test).length.toLocaleString("en")})`)), chosen);
      const sample = wanted ?? this.browser.items[this.browser.at]?.sample;
      this.tests = Object.fromEntries(kinds.map(([name, , test]) => [name, test]));
      this.browser.refresh(this.all.find((x) => x.sample === sample));
    }

    kinds() {
      const [a, b] = this.pair.map((n) => this.bench.checkpoints[n]);
      const duel = this.all.some((x) => x.match);
      return [
        ["all", "All", () => true],
        ["flipped", "Flipped", (x) => x.flipped],
        ["regressed", duel ? `${a} won` : "Regressed", (x) => x.gain < 0],
        ["improved", duel ? `${b} won` : "Improved", (x) => x.gain > 0],
        ["disagreeing", "Orders disagree", (x) => x.flags & DISAGREEING],
        ["unparsed", "Failed to parse", (x) => x.flags & UNPARSED],
        ["truncated", "Truncated", (x) => x.flags & TRUNCATED],
        ["unscored", "Not scored", (x) => x.values.includes(null)],
      ];
    }

    found(x, term) {
      if (x.sample[0].toLowerCase().includes(term)) return true;
      if (this.blob.names[x.sample[2]].toLowerCase().includes(term)) return true;
      const within = (i) => i >= 0 && this.blob.lower[i].includes(term);
      return x.sides.some((s) => s && (within(s[2]) || within(s[3]) || s[4].some((i, k) => k % 2 && within(i))));
    }

    // --- what the browser asks for

    items() {
      return this.all.filter(this.tests[this.browser.controls.kind.value]);
    }

    counted(n) {
      const total = this.blob.samples.filter((s) => s[1] === this.number).length;
      return `${n.toLocaleString("en")} of ${total.toLocaleString("en")} samples, the largest difference first`;
    }

    headings() {
      const [a, b] = this.pair.map((n) => this.bench.checkpoints[n]);
      return ["Sample", a, b, "Change"];
    }

    line(x) {
      const prompt = x.sides.map((s) => (s ? this.blob.texts[s[2]] : "")).find(Boolean) ?? "";
      const about = [this.blob.names[x.sample[2]], prompt.slice(0, 80)].filter(Boolean).join(" \u00b7 ");
      const tone = x.gain > 0 ? "better" : x.gain < 0 ? "worse" : "";
      return [
        ["name", x.sample[0]],
        ["kind", about],
        ["value", shownValue(this.group, x.values[0])],
        ["value", shownValue(this.group, x.values[1])],
        [`change ${tone}`, shownChange(this.group, x.change)],
      ];
    }

    label(x) {
      const [a, b] = this.pair.map((n) => this.bench.checkpoints[n]);
      const [first, second] = x.values.map((v) => (v === null ? "not scored" : shownValue(this.group, v)));
      const change = x.change === null ? "" : `, difference ${shownChange(this.group, x.change)}`;
      return `${x.sample[0]} ${this.blob.names[x.sample[2]]}: ${a} ${first}, ${b} ${second}${change}`;
    }

    address(x) {
      const [a, b] = this.pair.map((n) => this.bench.checkpoints[n]);
      return `#sample=${[this.bench.key, x.sample[0], a, b].map(encodeURIComponent).join("/")}`;
    }

    detail(x, marks) {
      const { texts } = this.blob;
      const names = this.pair.map((n) => this.bench.checkpoints[n]);
      const prompts = x.sides.map((s) => (s && texts[s[2]]) || "");
      const same = !prompts[0] || !prompts[1] || prompts[0] === prompts[1];
      const head = make("h3", "", x.sample[0], make("small", "", this.said(x)));
      head.classList.add("text");
      const asked = same
        ? [labelled("div", "asked", "Prompt", prompts[0] || prompts[1] || "The prompt\u2019s text is not in the run\u2019s files.")]
        : prompts.map((p, k) => labelled("div", "asked", `Prompt of ${names[k]} (they differ)`, p));
      const answers = x.sides.map((s) => (s && s[3] >= 0 ? texts[s[3]] : null));
      const [first, second, note] = compared(answers[0], answers[1], marks);
      const panes = [first, second].map((nodes, k) => this.pane(x, k, names[k], answers[k], nodes));
      const equal = answers[0] !== null && answers[0] === answers[1] ? "The two answers are the same." : note;
      return [
        head,
        ...asked,
        ...this.beside(x, names),
        make("div", "sides", ...panes),
        equal ? make("p", "caption", equal) : null,
        x.match ? this.verdicts(x) : null,
        this.numbers(x, names),
        x.sample[3] ? make("p", "caption", "To keep the file small, only the beginning of these texts is here.") : null,
      ].filter(Boolean);
    }

    said(x) {
      const told = [
        this.blob.names[x.sample[2]],
        this.group.label,
        x.change === null ? "" : shownChange(this.group, x.change),
        x.flipped ? "flipped" : "",
        x.flags & DISAGREEING ? "the orders disagree" : "",
      ];
      return ` ${told.filter(Boolean).join(" \u00b7 ")}`;
    }

    beside(x, names) {
      const seen = new Set();
      const found = [];
      x.sides.forEach((side, k) => {
        for (let i = 0; side && i < side[4].length; i += 2) {
          const key = `${side[4][i]}/${side[4][i + 1]}`;
          if (seen.has(key)) continue;
          seen.add(key);
          const label = this.blob.names[side[4][i]];
          found.push(labelled("div", "beside", k && seen.size > 1 && x.sides[0] ? `${label} (${names[k]})` : label, this.blob.texts[side[4][i + 1]]));
        }
      });
      return found.length > 1 ? [make("div", "sides plain", ...found)] : found;
    }

    pane(x, k, name, answer, nodes) {
      const side = x.sides[k];
      const value = x.values[k] === null ? "not scored" : shownValue(this.group, x.values[k]);
      const head = make("h4", "", `${"AB"[k]} \u00b7 ${name} `, make("b", "", value));
      if (side && side[7] & TRUNCATED) head.append(make("span", "flag", "truncated"));
      if (side && side[7] & UNPARSED) head.append(make("span", "flag", "failed to parse"));
      const pane = make("div", "pane", head);
      if (!side) return make("div", "pane", head, make("p", "empty", `${name} was not scored on this sample.`));
      if (side[1]) pane.append(make("p", "reason", `Reason: ${side[1]}`));
      if (answer !== null) pane.append(make("p", "text", ...(answer ? nodes : [make("i", "empty", "an empty answer")])));
      else if (!side[5].length) pane.append(make("p", "empty", "No answer."));
      for (let i = 0; i < side[5].length; i += 2) {
        pane.append(labelled("div", "words", this.blob.names[side[5][i]], this.blob.texts[side[5][i + 1]]));
      }
      return pane;
    }

    verdicts(x) {
      const { reason, judged } = x.match;
      const found = [];
      for (let i = 0; i < judged.length; i += 2) {
        found.push(labelled("div", "words", this.blob.names[judged[i]], this.blob.texts[judged[i + 1]]));
      }
      return make("div", "verdicts", reason ? make("p", "reason", `Reason: ${reason}`) : null, make("div", "sides plain", ...found));
    }

    numbers(x, names) {
      const rows = new Map();
      x.sides.forEach((side, k) => {
        for (let i = 0; side && i < side[6].length; i += 2) {
          const label = this.blob.names[side[6][i]];
          rows.set(label, Object.assign(rows.get(label) ?? ["\u2014", "\u2014"], { [k]: side[6][i + 1] }));
        }
      });
      if (!rows.size) return null;
      const head = make("tr", "", make("th", "", "Measure"), ...names.map((n) => make("th", "", n)));
      const body = [...rows].map(([label, values]) => {
        const title = make("th", "", label);
        title.scope = "row";
        return make("tr", "", title, ...values.map((v) => make("td", "", v)));
      });
      return make("table", "measures", make("thead", "", head), make("tbody", "", ...body));
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
