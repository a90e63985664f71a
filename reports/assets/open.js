"use strict";
// Packed data are unpacked when their section is first looked at, or a link leads into it.
(() => {
  const kinds = { samples: Samples, pairs: Pairs };
  const opened = new Map();
  const root = (kind) => document.querySelector(`[data-browser=${kind}]`);

  // The browser of a section, filled by `start` and then shown in the place of what is in the HTML; where unpacking
  // fails, that stays.
  const open = async (kind, start) => {
    if (!opened.has(kind)) opened.set(kind, browsing.load(kind).then((index) => new kinds[kind](root(kind), index)));
    const made = await opened.get(kind);
    await start(made);
    if (root(kind).hidden) reveal(kind);
    made.browser.keepInSight();
  };

  // What is below a section that grows or shrinks stays where it is, if that is what was being looked at.
  const reveal = (kind) => {
    const section = root(kind).closest("section");
    const before = section.getBoundingClientRect();
    root(kind).hidden = false;
    section.classList.add("browsing");
    if (before.top < 0) scrollBy({ top: section.getBoundingClientRect().bottom - before.bottom, behavior: "instant" });
  };

  const follow = async () => {
    const [, name, rest] = /^#(sample|pair)=(.*)$/.exec(location.hash) ?? [];
    const kind = { sample: "samples", pair: "pairs" }[name];
    if (!kind || !root(kind)) return;
    let parts;
    try {
      parts = rest.split("/").map(decodeURIComponent);
    } catch {
      parts = [rest];
    }
    await open(kind, (made) => made.follow(parts));
    root(kind).scrollIntoView({ block: "start", behavior: "instant" });
  };

  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      open(target.dataset.kind, (made) => made.begin());
    }
  });
  const begin = () => {
    for (const kind of Object.keys(kinds)) {
      const section = root(kind)?.closest("section");
      if (!section) continue;
      section.dataset.kind = kind;
      watcher.observe(section);
    }
    addEventListener("hashchange", follow);
    follow();
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", begin); // the data may come last
  else begin();
})();
