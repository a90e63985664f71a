"use strict";
// Packed data are unpacked when their section is first looked at, or a link leads into it.
(() => {
  const kinds = { samples: Samples, pairs: Pairs };
  const opened = new Map();
  const root = (kind) => document.querySelector(`[data-browser=${kind}]`);

  // The browser of a section, unpacked on the first call. Where that fails, what is in the HTML stays.
  const browser = (kind) => {
    if (!opened.has(kind)) {
      opened.set(
        kind,
        browsing.load(kind).then((index) => {
          const made = new kinds[kind](root(kind), index);
          root(kind).hidden = false;
          root(kind).closest("section").classList.add("browsing");
          return made;
        }),
      );
    }
    return opened.get(kind);
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
    const found = await browser(kind);
    await found.follow(parts);
    root(kind).scrollIntoView({ block: "start" });
  };

  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watcher.unobserve(entry.target);
      browser(entry.target.dataset.kind).then((found) => found.begin());
    }
  });
  for (const kind of Object.keys(kinds)) {
    const section = root(kind)?.closest("section");
    if (!section) continue;
    section.dataset.kind = kind;
    watcher.observe(section);
  }
  addEventListener("hashchange", follow);
  follow();
})();
