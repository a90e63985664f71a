"use strict";
// Preference pairs: chosen against rejected.
const Pairs = (() => {
  const { Browser, compared, fill, labelled, later, load, make, option, shownChange, shownValue, terms } = browsing;

  const [NUMBER, ID, PROMPT, CHOSEN, REJECTED, CHOSEN_SCORE, REJECTED_SCORE, CHOSEN_CHARS, REJECTED_CHARS, CHOSEN_WORDS, REJECTED_WORDS] =
    Array.from({ length: 11 }, (_, i) => i);
  const POINTS = { scale: 1, digits: 2, suffix: "", words: false };
  const margin = (p) => (p[CHOSEN_SCORE] === null || p[REJECTED_SCORE] === null ? null : p[CHOSEN_SCORE] - p[REJECTED_SCORE]);
  const ratio = (p) => (p[CHOSEN_CHARS] + 1) / (p[REJECTED_CHARS] + 1);
  const ORDERS = {
    largest: ["Largest margin", (p, q) => (margin(q) ?? -Infinity) - (margin(p) ?? -Infinity)],
    smallest: ["Smallest margin", (p, q) => (margin(p) ?? Infinity) - (margin(q) ?? Infinity)],
    longer: ["Chosen longest against rejected", (p, q) => ratio(q) - ratio(p)],
    shorter: ["Chosen shortest against rejected", (p, q) => ratio(p) - ratio(q)],
    file: ["As in the file", (p, q) => p[NUMBER] - q[NUMBER]],
  };

  return class Pairs {
    constructor(root, index) {
      this.index = index.iterations;
      this.browser = new Browser(root, this);
      const { group, kind, query, marks } = this.browser.controls;
      fill(group, this.index.map((it, i) => option(i, it.model)), this.index.length - 1);
      fill(kind, Object.entries(ORDERS).map(([name, [label]]) => option(name, label)));
      group.addEventListener("change", () => this.open(Number(group.value)));
      kind.addEventListener("change", () => this.browser.refresh(null));
      query.addEventListener("input", later(() => this.browser.refresh()));
      marks.addEventListener("change", () => this.browser.show());
    }

    async open(i, id) {
      const turn = (this.turn = (this.turn ?? 0) + 1);
      const blob = await load(this.index[i].blob);
      if (turn !== this.turn) return; // something else was asked for meanwhile
      Object.assign(this, { blob, iteration: this.index[i] });
      this.blob.lower ??= this.blob.texts.map((t) => t.toLowerCase());
      this.browser.controls.group.value = String(i);
      this.browser.refresh(this.blob.pairs.find((p) => p[ID] === id) ?? null);
    }

    items() {
      const query = terms(this.browser.controls.query.value);
      const found = (p, term) =>
        p[ID].toLowerCase().includes(term) || [PROMPT, CHOSEN, REJECTED].some((k) => this.blob.lower[p[k]].includes(term));
      const order = ORDERS[this.browser.controls.kind.value][1];
      return this.blob.pairs.filter((p) => query.every((term) => found(p, term))).sort(order);
    }

    counted(n) {
      const { shown, total } = this.iteration;
      const of = shown === total ? "" : `, of ${total.toLocaleString("en")} that ${this.iteration.model} was trained on`;
      return `${n.toLocaleString("en")} of ${shown.toLocaleString("en")} pairs${of}`;
    }

    headings() {
      return ["Prompt", "Chosen", "Rejected", "Margin"];
    }

    line(p) {
      const scores = [p[CHOSEN_SCORE], p[REJECTED_SCORE]].map((s) => shownValue(POINTS, s));
      return [
        ["name", this.blob.texts[p[PROMPT]].slice(0, 90)],
        ["kind", `${p[CHOSEN_CHARS].toLocaleString("en")} / ${p[REJECTED_CHARS].toLocaleString("en")} chars \u00b7 ${p[ID]}`],
        ["value", scores[0]],
        ["value", scores[1]],
        ["change", shownChange(POINTS, margin(p))],
      ];
    }

    label(p) {
      const [chosen, rejected] = [p[CHOSEN_SCORE], p[REJECTED_SCORE]].map((s) => shownValue(POINTS, s));
      return `${this.blob.texts[p[PROMPT]].slice(0, 90)}: chosen ${chosen}, rejected ${rejected}`;
    }

    address(p) {
      return `#pair=${[this.iteration.model, p[ID]].map(encodeURIComponent).join("/")}`;
    }

    detail(p, marks) {
      const { texts } = this.blob;
      const [chosen, rejected, note] = compared(texts[p[CHOSEN]], texts[p[REJECTED]], marks);
      const pane = (name, nodes, score, chars, words) =>
        make(
          "div",
          `pane ${name.toLowerCase()}`,
          make("h4", "", `${name} `, make("b", "", shownValue(POINTS, score)), ` \u00b7 ${chars.toLocaleString("en")} characters`),
          make("p", "text", ...nodes),
          ...words.map((w) => labelled("div", "words", "Judge", texts[w])),
        );
      return [
        make("h3", "text", p[ID], make("small", "", ` margin ${shownChange(POINTS, margin(p)) || "\u2014"} \u00b7 length ${ratio(p).toFixed(2)} to 1`)),
        labelled("div", "asked", "Prompt", texts[p[PROMPT]]),
        make(
          "div",
          "sides",
          pane("Chosen", chosen, p[CHOSEN_SCORE], p[CHOSEN_CHARS], p[CHOSEN_WORDS]),
          pane("Rejected", rejected, p[REJECTED_SCORE], p[REJECTED_CHARS], p[REJECTED_WORDS]),
        ),
        note ? make("p", "caption", note) : null,
      ].filter(Boolean);
    }

    // #pair=MODEL/ID
    async follow([model, id]) {
      this.begun = true;
      const i = this.index.findIndex((it) => it.model === model);
      if (i < 0 || (id && !(await load(this.index[i].blob)).pairs.some((p) => p[ID] === id))) {
        if (!this.blob) await this.open(this.index.length - 1);
        this.browser.count.textContent = `The link leads to no pair of this page: ${model} / ${id ?? ""}`;
        return;
      }
      this.browser.controls.query.value = "";
      await this.open(i, id);
    }

    async begin() {
      if (this.begun) return;
      this.begun = true;
      await this.open(this.index.length - 1);
    }
  };
})();
