"use strict";
// One sample: its prompt, two answers with their differences, what they are held against, the judge's words, the oracle's
// points, and the answers of all other checkpoints.
const sampled = (() => {
  const { compared, labelled, make, shownChange, shownValue } = browsing;

  // a side, as reports/samples/blobs.py packs it
  const [VALUE, REASON, PROMPT, ANSWER, BESIDE, JUDGED, NUMBERS, FLAGS, CHARS, POINTS] = Array.from({ length: 10 }, (_, i) => i);
  const FLAG = { truncated: 1, unparsed: 2, disagreeing: 4 };
  const TITLE = 140;

  const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}\u2026` : text);
  const title = (x) => cut(x.prompt.slice(0, 4 * TITLE).replace(/\s+/g, " ").trim(), TITLE) || x.sample[0];

  const detail = (list, x, marks) => {
    const { texts } = list.blob;
    const names = list.names;
    const head = make("h3", "text", title(x), make("small", "", said(list, x)));
    const answers = x.sides.map((s) => (s && s[ANSWER] >= 0 ? texts[s[ANSWER]] : null));
    const [first, second, note] = compared(answers[0], answers[1], marks);
    const panes = [first, second].map((nodes, k) => pane(list, x, k, names[k], answers[k], nodes));
    const equal = answers[0] !== null && answers[0] === answers[1] ? "The two answers are the same." : note;
    return [
      head,
      ...asked(list, x, names),
      ...beside(list, x, names),
      make("div", "sides", ...panes),
      equal ? make("p", "caption", equal) : null,
      points(list, x),
      x.match ? verdicts(list, x) : null,
      all(list, x),
      numbers(list, x, names),
      x.sample[3] ? make("p", "caption", "To keep the file small, only the beginning of these texts is here.") : null,
    ].filter(Boolean);
  };

  // The prompt, where the title is not all of it.
  const asked = (list, x, names) => {
    const prompts = x.sides.map((s) => (s && list.blob.texts[s[PROMPT]]) || "");
    if (prompts[0] && prompts[1] && prompts[0] !== prompts[1]) {
      return prompts.map((p, k) => labelled("div", "asked", `Prompt of ${names[k]} (they differ)`, p));
    }
    if (!x.prompt) return [labelled("div", "asked", "Prompt", "The prompt\u2019s text is not in the run\u2019s files.")];
    return x.prompt === title(x) ? [] : [labelled("div", "asked", "Prompt", x.prompt)];
  };

  const said = (list, x) => {
    const told = [
      title(x) === x.sample[0] ? "" : x.sample[0],
      list.blob.names[x.sample[2]],
      list.group.label,
      x.change === null ? "" : shownChange(list.group, x.change),
      x.flipped ? "flipped" : "",
      x.flags & FLAG.disagreeing ? "the orders disagree" : "",
    ];
    return ` ${told.filter(Boolean).join(" \u00b7 ")}`;
  };

  const beside = (list, x, names) => {
    const seen = new Set();
    const found = [];
    x.sides.forEach((side, k) => {
      for (let i = 0; side && i < side[BESIDE].length; i += 2) {
        const key = `${side[BESIDE][i]}/${side[BESIDE][i + 1]}`;
        if (seen.has(key)) continue;
        seen.add(key);
        const label = list.blob.names[side[BESIDE][i]];
        found.push(labelled("div", "beside", k && seen.size > 1 && x.sides[0] ? `${label} (${names[k]})` : label, list.blob.texts[side[BESIDE][i + 1]]));
      }
    });
    return found.length > 1 ? [make("div", "sides plain", ...found)] : found;
  };

  const pane = (list, x, k, name, answer, nodes) => {
    const side = x.sides[k];
    const value = x.values[k] === null ? "not scored" : shownValue(list.group, x.values[k]);
    const head = make("h4", "", `${"AB"[k]} \u00b7 ${name} `, make("b", "", value));
    if (side && side[CHARS] !== null) head.append(` \u00b7 ${side[CHARS].toLocaleString("en")} characters`);
    if (side && side[FLAGS] & FLAG.truncated) head.append(make("span", "flag", "truncated"));
    if (side && side[FLAGS] & FLAG.unparsed) head.append(make("span", "flag", "failed to parse"));
    const pane = make("div", "pane", head);
    if (!side) return make("div", "pane", head, make("p", "empty", `${name} was not scored on this sample.`));
    if (side[REASON]) pane.append(make("p", "reason", `Reason: ${side[REASON]}`));
    if (answer !== null) pane.append(make("p", "text", ...(answer ? nodes : [make("i", "empty", "an empty answer")])));
    else if (!side[JUDGED].length) pane.append(make("p", "empty", "No answer."));
    for (let i = 0; i < side[JUDGED].length; i += 2) {
      pane.append(labelled("div", "words", list.blob.names[side[JUDGED][i]], list.blob.texts[side[JUDGED][i + 1]]));
    }
    return pane;
  };

  const verdicts = (list, x) => {
    const { reason, judged } = x.match;
    const found = [];
    for (let i = 0; i < judged.length; i += 2) {
      found.push(labelled("div", "words", list.blob.names[judged[i]], list.blob.texts[judged[i + 1]]));
    }
    return make("div", "verdicts", reason ? make("p", "reason", `Reason: ${reason}`) : null, make("div", "sides plain", ...found));
  };

  // --- tables

  const table = (className, heads, rows) => {
    const header = (tag, scope) => ([name, about, marked]) => {
      const found = make(tag, marked ? "looked" : "", name);
      found.scope = scope;
      if (about) found.title = about;
      return found;
    };
    const head = make("tr", "", ...heads.map(header("th", "col")));
    const body = rows.map(([first, ...cells]) => make("tr", "", header("th", "row")(first), ...cells));
    const frame = make("div", "scroll", make("table", className, make("thead", "", head), make("tbody", "", ...body)));
    frame.tabIndex = 0;
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", heads[0][0]);
    return frame;
  };

  const numbers = (list, x, names) => {
    const rows = new Map();
    x.sides.forEach((side, k) => {
      for (let i = 0; side && i < side[NUMBERS].length; i += 2) {
        const label = list.blob.names[side[NUMBERS][i]];
        rows.set(label, Object.assign(rows.get(label) ?? ["\u2014", "\u2014"], { [k]: side[NUMBERS][i + 1] }));
      }
    });
    if (!rows.size) return null;
    const body = [...rows].map(([label, values]) => [[label], ...values.map((v) => make("td", "", v))]);
    return table("measures", [["Measure"], ...names.map((n) => [n])], body);
  };

  // The oracle's points, and which of them made the difference.
  const points = (list, x) => {
    const graded = x.sample[4].map((s, n) => [n, s?.[POINTS] ?? null]).filter(([, found]) => found !== null);
    if (!graded.length || !list.points) return null;
    const pair = list.pair;
    const cell = (given) => {
      const found = make("td", given ? "given" : "lacking", given ? "\u2713" : "\u2013");
      found.append(make("span", "hidden", given ? " yes" : " no"));
      return found;
    };
    const rows = list.points.map(([name, about], k) => [
      [name, about],
      ...graded.map(([, found]) => cell((found >> k) & 1)),
    ]);
    const heads = graded.map(([n]) => [list.bench.checkpoints[n], "", pair.includes(n)]);
    return make("div", "points", make("h4", "", "The oracle\u2019s five points", make("small", "", why(list, x))), table("measures", [["Point"], ...heads], rows));
  };

  const why = (list, x) => {
    const [first, second] = x.sides.map((s) => s?.[POINTS] ?? null);
    if (first === null || second === null || first === second) return "";
    const named = (bits) => list.points.filter((_, k) => (bits >> k) & 1).map(([name]) => name).join(", ");
    const told = [[second & ~first, "gained"], [first & ~second, "lost"]].filter(([bits]) => bits);
    return ` ${list.names.join(" \u2192 ")}: ${told.map(([bits, word]) => `${word} ${named(bits)}`).join("; ")}`;
  };

  // Every checkpoint's answer to this prompt, in a row; a press holds it against A.
  const all = (list, x) => {
    const there = list.bench.checkpoints.map((name, n) => [name, n, x.sample[4][n]]).filter(([, , side]) => side);
    if (there.length < 3) return null;
    const cells = there.map(([name, n, side]) => {
      const at = list.pair.indexOf(n);
      const match = list.match(x.sample, list.pair[0], n);
      const value = match ? match.values[1] : side[VALUE];
      const text = side[ANSWER] >= 0 ? list.blob.texts[side[ANSWER]] : null;
      const cell = make("div", at < 0 ? "cell" : "cell looked", make("h4", "", at < 0 ? "" : `${"AB"[at]} \u00b7 `, `${name} `, make("b", "", value === null ? "\u2014" : shownValue(list.group, value))));
      if (text !== null) cell.append(make("p", "text", text ? cut(text.trim(), 400) : make("i", "empty", "an empty answer")));
      if (at < 0) {
        const button = make("button", "", "Hold ", make("span", "hidden", `${name} `), "against A");
        button.type = "button";
        button.addEventListener("click", () => list.against(n));
        cell.append(button);
      }
      return cell;
    });
    const row = make("div", "row", ...cells);
    row.tabIndex = 0;
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", "All checkpoints");
    return make("div", "all", make("h4", "", "All checkpoints"), row);
  };

  return { ANSWER, BESIDE, CHARS, FLAG, FLAGS, JUDGED, POINTS, PROMPT, REASON, VALUE, detail, title };
})();
