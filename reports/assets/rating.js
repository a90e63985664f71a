// The rating page: shows one comparison at a time, keeps what is rated in this browser, saves it as CSV.
(() => {
  "use strict";
  const sheet = document.body.dataset.sheet;
  const kept = `srbench-ratings-${sheet}`;
  const items = [...document.querySelectorAll("article")];
  const buttons = [...document.querySelectorAll("[data-choice]")];
  const find = (id) => document.getElementById(id);
  let rated = {};
  let saved = true;
  let shown = 0;

  const warn = (text) => {
    find("warning").textContent = text;
    find("warning").hidden = false;
  };

  const load = () => {
    try {
      const found = JSON.parse(localStorage.getItem(kept) || "{}");
      for (const item of items) {
        const choice = found[item.dataset.item];
        if (["1", "2", "3"].includes(choice)) rated[item.dataset.item] = choice;
      }
    } catch {
      warn("This browser keeps nothing for this page. Save your ratings before you close it.");
    }
  };

  const keep = () => {
    saved = false;
    try {
      localStorage.setItem(kept, JSON.stringify(rated));
    } catch {
      warn("This browser keeps nothing for this page. Save your ratings before you close it.");
    }
  };

  const draw = () => {
    items.forEach((item, i) => { item.hidden = i !== shown; });
    const choice = rated[items[shown].dataset.item];
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.choice === choice));
    const n = Object.keys(rated).length;
    find("place").textContent = `Comparison ${shown + 1} of ${items.length}${choice ? `, rated ${choice}` : ", not rated"}`;
    find("done").textContent = n === items.length ? `All ${n} are rated. Save them now.` : `${n} of ${items.length} are rated.`;
    find("back").disabled = shown === 0;
    find("next").disabled = shown === items.length - 1;
  };

  const go = (to) => {
    shown = Math.max(0, Math.min(items.length - 1, to));
    draw();
    scrollTo(0, 0);
  };

  const rate = (choice) => {
    const id = items[shown].dataset.item;
    if (choice === "0") delete rated[id];
    else rated[id] = choice;
    keep();
    const open = (i) => !rated[items[i].dataset.item];
    const places = items.map((_, i) => (shown + 1 + i) % items.length);
    const next = places.find(open);
    go(choice === "0" || next === undefined ? shown : next);
  };

  const save = () => {
    const lines = ["sheet,item,choice", ...items.map((i) => [sheet, i.dataset.item, rated[i.dataset.item] || ""].join(","))];
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" }));
    link.download = `ratings-${sheet}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
    saved = true;
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (["0", "1", "2", "3"].includes(event.key)) rate(event.key);
    else if (event.key === "ArrowLeft") go(shown - 1);
    else if (event.key === "ArrowRight") go(shown + 1);
    else return;
    event.preventDefault();
  });
  for (const button of buttons) button.addEventListener("click", () => rate(button.dataset.choice));
  find("back").addEventListener("click", () => go(shown - 1));
  find("next").addEventListener("click", () => go(shown + 1));
  find("save").addEventListener("click", save);
  addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });

  load();
  const first = items.findIndex((item) => !rated[item.dataset.item]);
  go(first < 0 ? 0 : first);
})();
