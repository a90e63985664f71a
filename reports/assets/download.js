"use strict";
// The listed samples as a file that the page makes itself: nothing is asked of any network.
const download = (() => {
  const { make } = browsing;
  const { ANSWER, CHARS, JUDGED, POINTS, REASON, VALUE } = sampled;

  // What a spreadsheet takes for the beginning of a formula, as reports/exports/escaping.py has it.
  const FORMULA = /^[=+\-@\uff1d\uff0b\uff0d\uff20\u2212]/;
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    const line = value.replace(/\s+/g, " ").trim();
    return `"${(FORMULA.test(line) ? `'${line}` : line).replaceAll('"', '""')}"`;
  };

  const labelled = (list, flat) => {
    const found = [];
    for (let i = 0; i < flat.length; i += 2) found.push({ label: list.blob.names[flat[i]], text: list.blob.texts[flat[i + 1]] });
    return found;
  };
  const side = (list, sample, n) => {
    const found = sample[4][n];
    if (!found) return null;
    const given = found[POINTS] === null ? {} : { points: list.points.filter((_, k) => (found[POINTS] >> k) & 1).map(([name]) => name) };
    return {
      checkpoint: list.bench.checkpoints[n], value: found[VALUE], reason: found[REASON], characters: found[CHARS],
      answer: found[ANSWER] >= 0 ? list.blob.texts[found[ANSWER]] : null, judge: labelled(list, found[JUDGED]), ...given,
    };
  };
  const record = (list, x) => ({
    sample: x.sample[0], category: list.blob.names[x.sample[2]], prompt: x.prompt, values: x.values, difference: x.change,
    shortened: Boolean(x.sample[3]), checkpoints: list.bench.checkpoints.map((_, n) => side(list, x.sample, n)).filter(Boolean),
    ...(x.match ? { judge: labelled(list, x.match.judged) } : {}),
  });

  const save = (list, ending, type, text) => {
    const url = URL.createObjectURL(new Blob([text], { type }));
    const link = make("a", "");
    link.href = url;
    const name = ["samples", list.bench.key, ...list.names].join("-").replace(/[^\w.@-]+/g, "-").slice(0, 100);
    link.download = `${name}.${ending}`;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  };

  return {
    csv(list) {
      const names = list.bench.checkpoints;
      const heads = ["benchmark", "metric", "sample", "category", "prompt", "a", "b", "value a", "value b", "difference"];
      const rows = list.items.map((x) => [
        list.bench.key, list.group.label, x.sample[0], list.blob.names[x.sample[2]], x.prompt, ...list.names, ...x.values, x.change,
        ...names.flatMap((_, n) => {
          const found = x.sample[4][n];
          return found ? [found[VALUE], found[CHARS], found[ANSWER] >= 0 ? list.blob.texts[found[ANSWER]] : null] : [null, null, null];
        }),
      ]);
      const columns = [...heads, ...names.flatMap((n) => [`${n} value`, `${n} characters`, `${n} answer`])];
      save(list, "csv", "text/csv", [columns, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join(""));
    },
    json(list) {
      const { bench, group, names, filters } = list;
      const found = { format: 1, benchmark: bench.key, metric: group.label, a: names[0], b: names[1], filters, samples: list.items.map((x) => record(list, x)) };
      save(list, "json", "application/json", `${JSON.stringify(found, null, 1)}\n`);
    },
  };
})();
