"use strict";
// The leaderboard: sorted within the groups whose numbers may be compared, filtered by words and by each run's last
// checkpoint. The address keeps what was chosen.
(() => {
  const table = document.querySelector("table.board");
  if (!table) return;
  const query = document.getElementById("filter");
  const last = document.getElementById("last");
  const count = document.getElementById("count");
  const heads = [...table.querySelectorAll("thead th")];
  const bodies = [...table.querySelectorAll("tbody")];
  const chosen = { by: -1, down: true };

  const value = (row, k) => {
    const cell = row.cells[k];
    if (cell.dataset.value === undefined) return cell.textContent.trim().toLowerCase();
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  };
  const compare = (p, q) => {
    if (p === null || q === null) return p === q ? 0 : p === null ? 1 : -1; // what has no value comes last
    const order = typeof p === "number" ? p - q : p < q ? -1 : p > q ? 1 : 0;
    return chosen.down ? -order : order;
  };
  const sort = () => {
    heads.forEach((h, k) => h.setAttribute("aria-sort", k !== chosen.by ? "none" : chosen.down ? "descending" : "ascending"));
    if (chosen.by < 0) return;
    for (const body of bodies) {
      const rows = [...body.querySelectorAll("tr.row")];
      body.append(...rows.sort((p, q) => compare(value(p, chosen.by), value(q, chosen.by))));
    }
  };
  const filter = () => {
    const terms = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const body of bodies) {
      let any = false;
      for (const row of body.querySelectorAll("tr.row")) {
        const text = row.textContent.toLowerCase();
        row.hidden = (last.checked && row.dataset.last !== "yes") || !terms.every((t) => text.includes(t));
        any ||= !row.hidden;
        shown += row.hidden ? 0 : 1;
      }
      body.hidden = !any;
    }
    count.textContent = `${shown.toLocaleString("en")} shown`;
  };
  const keep = () => {
    const parts = [query.value, last.checked ? "last" : "all", chosen.by, chosen.down ? "down" : "up"];
    history.replaceState(null, "", `#${parts.map(encodeURIComponent).join("/")}`);
  };
  const restore = () => {
    let parts;
    try {
      parts = location.hash.slice(1).split("/").map(decodeURIComponent);
    } catch {
      return;
    }
    if (parts.length !== 4) return;
    query.value = parts[0];
    last.checked = parts[1] !== "all";
    const by = Number(parts[2]);
    chosen.by = Number.isInteger(by) && by < heads.length ? by : -1;
    chosen.down = parts[3] !== "up";
  };

  heads.forEach((head, k) => {
    head.querySelector("button")?.addEventListener("click", () => {
      chosen.down = chosen.by === k ? !chosen.down : value(table.querySelector("tr.row") ?? table.rows[0], k) === null || table.querySelector("tr.row")?.cells[k].dataset.value !== undefined;
      chosen.by = k;
      sort();
      keep();
    });
  });
  let waiting;
  query.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      filter();
      keep();
    }, 120);
  });
  last.addEventListener("change", () => {
    filter();
    keep();
  });
  document.querySelector(".tools").hidden = false;
  restore();
  sort();
  filter();
})();
