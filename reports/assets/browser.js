"use strict";
// A list of entries, and beside it the chosen one: for samples and for preference pairs. What models and judges wrote
// reaches the page through textContent alone.
const browsing = (() => {
  // --- elements

  const make = (tag, className, ...children) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...children.filter((c) => c !== null && c !== undefined)); // strings become text, never HTML
    return element;
  };
  const labelled = (tag, className, label, text) =>
    make(tag, className, make("h4", "", label), text ? make("p", "text", text) : null);
  const option = (value, text) => Object.assign(document.createElement("option"), { value, textContent: text });
  const fill = (select, options, chosen) => {
    select.replaceChildren(...options);
    if (chosen !== undefined) select.value = String(chosen);
  };
  const blobs = new Map();
  const load = (name) => {
    if (!blobs.has(name)) blobs.set(name, unpack(name));
    return blobs.get(name);
  };

  // --- texts with their differences marked

  // Both texts as nodes; words that the other text lacks are marked.
  const compared = (a, b, marks) => {
    if (!marks || a === null || b === null || a === b) return [[a ?? ""], [b ?? ""], ""];
    const parts = Diff.diffWordsWithSpace(a, b, { timeout: 400 });
    if (!parts) return [[a], [b], "The two texts are too unlike for their differences to be marked."];
    const side = (own, other, tag) =>
      parts.filter((p) => !p[other]).map((p) => (p[own] ? make(tag, "", p.value) : p.value));
    return [side("removed", "added", "del"), side("added", "removed", "ins"), ""];
  };

  // --- numbers, as the tables of the page write them

  const minus = (text) => (/^[-+][0.]*$/.test(text) ? text.slice(1) : text.replace("-", "\u2212")); // zero has no sign
  const shownValue = (group, value) => {
    if (value === null || value === undefined) return "\u2014";
    const word = { 0: "wrong", 0.5: "tie", 1: "right" }[value];
    if (group.words) return word ?? value.toFixed(2);
    return minus((value * group.scale).toFixed(group.digits)) + group.suffix;
  };
  const shownChange = (group, change) => {
    if (change === null) return "";
    const text = group.words ? String(+change.toFixed(2)) : (change * group.scale).toFixed(group.digits);
    return minus((change > 0 ? "+" : "") + text);
  };

  // --- a list and its chosen entry

  // source: title, headings(), items(), line(item), label(item), detail(item, marks), address(item), controls
  class Browser {
    constructor(root, source) {
      Object.assign(this, { root, source, items: [], at: -1 });
      for (const part of ["count", "list", "detail", "heads"]) this[part] = root.querySelector(`.${part}`);
      this.controls = Object.fromEntries([...root.querySelectorAll("[data-control]")].map((c) => [c.dataset.control, c]));
      this.list.addEventListener("keydown", (event) => this.listKey(event));
      this.list.addEventListener("click", (event) => {
        const row = event.target.closest("[role=option]");
        if (row) this.choose(Number(row.dataset.at), true);
      });
      root.addEventListener("keydown", (event) => this.key(event));
    }

    // Shows what the filters leave; stays on the entry that was chosen, if it is among it.
    refresh(wanted = this.items[this.at]) {
      this.items = this.source.items();
      this.heads.replaceChildren(...this.source.headings().map((h) => make("span", "", h)));
      const rows = this.items.map((item, at) => {
        const spans = this.source.line(item).map(([name, text]) => make("span", name, text));
        spans.forEach((s) => s.setAttribute("aria-hidden", "true")); // the same in a sentence is read out instead
        const row = make("div", "entry", ...spans, make("span", "hidden", this.source.label(item)));
        row.id = `${this.root.dataset.browser}-${at}`;
        row.dataset.at = at;
        row.setAttribute("role", "option");
        row.setAttribute("aria-selected", "false");
        return row;
      });
      this.list.replaceChildren(...rows);
      this.count.textContent = this.source.counted(this.items.length);
      this.at = -1;
      if (this.items.length) this.choose(Math.max(0, this.items.indexOf(wanted)), false);
      else {
        this.list.removeAttribute("aria-activedescendant");
        this.detail.replaceChildren(make("p", "empty", "Nothing matches."));
      }
    }

    choose(at, remember) {
      const before = this.list.children[this.at];
      before?.setAttribute("aria-selected", "false");
      this.at = at;
      const row = this.list.children[at];
      row.setAttribute("aria-selected", "true");
      this.list.setAttribute("aria-activedescendant", row.id);
      this.keepInSight();
      this.show();
      if (remember) this.remember();
    }

    // Scrolls the list alone, never the page.
    keepInSight() {
      const row = this.list.children[this.at];
      if (!row) return;
      const { top, bottom } = row.getBoundingClientRect();
      const frame = this.list.getBoundingClientRect();
      if (top < frame.top) this.list.scrollTop -= frame.top - top;
      else if (bottom > frame.bottom) this.list.scrollTop += bottom - frame.bottom;
    }

    show() {
      const item = this.items[this.at];
      if (item === undefined) return;
      const link = make("a", "", "Link");
      link.href = this.source.address(item);
      link.setAttribute("aria-label", "Link to this entry");
      const place = make("span", "place", `${(this.at + 1).toLocaleString("en")} of ${this.items.length.toLocaleString("en")}`);
      const steps = make("div", "steps", this.step("Previous", -1), place, this.step("Next", 1), link);
      this.detail.replaceChildren(steps, ...this.source.detail(item, this.controls.marks.checked));
    }

    step(label, by) {
      const button = make("button", "", label);
      button.type = "button";
      button.disabled = !this.items[this.at + by];
      button.addEventListener("click", () => {
        this.choose(this.at + by, true);
        const same = [...this.detail.querySelectorAll(".steps button")].find((b) => b.textContent === label);
        (same.disabled ? this.detail : same).focus({ preventScroll: true });
      });
      return button;
    }

    // The address follows, but not faster than browsers let it.
    remember() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => {
        const item = this.items[this.at];
        if (item !== undefined) history.replaceState(null, "", this.source.address(item));
      }, 250);
    }

    listKey(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const page = Math.max(1, Math.floor(this.list.clientHeight / (this.list.firstElementChild?.offsetHeight || 40)) - 1);
      const to = {
        ArrowDown: this.at + 1,
        ArrowUp: this.at - 1,
        PageDown: this.at + page,
        PageUp: this.at - page,
        Home: 0,
        End: this.items.length - 1,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.go(to);
    }

    // j and k work wherever the focus is in the browser, unless something is being typed or chosen.
    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
      const by = { j: 1, k: -1 }[event.key];
      if (by === undefined) return;
      event.preventDefault();
      this.go(this.at + by);
      if (!this.list.contains(document.activeElement)) this.list.focus({ preventScroll: true });
    }

    go(to) {
      if (!this.items.length) return;
      const at = Math.min(Math.max(to, 0), this.items.length - 1);
      if (at !== this.at) this.choose(at, true);
    }
  }

  const later = (call) => {
    let timer;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(call, 150);
    };
  };
  const terms = (query) => query.toLowerCase().split(/\s+/).filter(Boolean);

  return { Browser, compared, fill, labelled, later, load, make, option, shownChange, shownValue, terms };
})();
