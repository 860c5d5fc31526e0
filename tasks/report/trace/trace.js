
"use strict";
/* The trace page: a list of examples that can be searched, and one example with its pairs, its answers and its documents.
   All text comes from a corpus or a model: it is put into text nodes, never into markup. */
(() => {
  const ROW = 52, KEPT = 40, FEW = 100;
  const study = JSON.parse(document.getElementById("study").textContent);
  const sizes = new Map(study.models.map((m) => [m.name, m.parameters]));
  const byId = (id) => document.getElementById(id);
  const state = { found: [], at: 0, open: null, order: null, zeros: false, only: null, sort: ["count", -1], pair: null, all: false };

  // -- small pieces ---------------------------------------------------------------------------------------------------
  const unfit = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]/g;
  const clean = (text) => String(text).replace(unfit, "\ufffd"); // one for one, so that places stay what they are
  function el(name, given, ...inside) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(given || {})) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : clean(value));
    }
    made.append(...inside.flat().map((piece) => (piece instanceof Node ? piece : clean(piece))));
    return made;
  }
  const whole = (n) => (n === null ? "–" : n.toLocaleString("en-US"));
  const short = (n) => (n >= 1e9 ? (n / 1e9).toPrecision(2) + " B" : n >= 1e6 ? +(n / 1e6).toPrecision(2) + " M" : n >= 1e3 ? Math.round(n / 1e3) + " k" : String(n));
  const signed = (x, digits) => (x === null || x === undefined ? "–" : (x < 0 ? "−" : "") + Math.abs(x).toFixed(digits));
  function probability(log) { // 0.31, 0.0042, 3.1·10⁻⁵
    if (log === null || log === undefined) return "–";
    const p = Math.exp(log);
    if (p >= 0.001) return p.toPrecision(2).replace(/^1\.0$/, "1");
    let tens = Math.floor(log / Math.LN10), lead = Math.exp(log - tens * Math.LN10).toFixed(1); // of the log: p may be too small for a number
    if (lead === "10.0") { lead = "1.0"; tens += 1; }
    return lead + "·10" + String(tens).replace("-", "⁻").replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);
  }
  const number = (text, title) => el("td", { class: "n", title }, text);
  const chance = (log) => number(probability(log), typeof log === "number" ? `log ${signed(log, 3)} nats` : undefined);

  // -- the files next to this page: a script each, which hands over its content ------------------------------------------
  const content = new Map(), asked = new Map();
  window.taskgramTrace = (kind, task, at, value) => content.set(`${kind} ${at} ${task}`, value);
  function load(kind, task, at) {
    const key = `${kind} ${at} ${task}`;
    if (!asked.has(key)) {
      const digits = String(at).padStart(4, "0");
      const file = `tasks/${encodeURIComponent(task)}/${kind === "index" ? kind : kind === "documents" ? `documents-${digits}` : digits}.js`;
      asked.set(key, new Promise((done, failed) => {
        const tag = el("script", { src: file, onload: () => { tag.remove(); done(content.get(key)); },
          onerror: () => { tag.remove(); asked.delete(key); failed(new Error(`trace/${file} is not there. Copy the whole folder of the report.`)); } });
        document.head.append(tag);
      }));
      if (kind !== "index") forget();
    }
    return asked.get(key);
  }
  function forget() { // the oldest chunks, so that a long session stays small
    const old = [...asked.keys()].filter((k) => !k.startsWith("index "));
    for (const key of old.slice(0, Math.max(0, old.length - KEPT))) { asked.delete(key); content.delete(key); }
  }

  // -- the list -------------------------------------------------------------------------------------------------------
  const indexes = new Map();
  function search() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const [task, model, right, paired] = [byId("task").value, byId("model").value, byId("right").value, byId("paired").checked];
    const found = [];
    for (const [name, index] of indexes) {
      if (task && name !== task) continue;
      const marks = index.right[index.models.indexOf(model)];
      if (model && right && !marks) continue;
      for (let i = 0; i < index.ids.length; i++) {
        if (paired && !index.pairs[i]) continue;
        if (right && !(model ? marks[i] === right : index.right.some((r) => r[i] === right))) continue;
        if (words.length && !words.every((w) => index.text[i].includes(w) || name.toLowerCase().includes(w))) continue;
        found.push([name, i]);
      }
    }
    state.found = found;
    state.at = 0;
    byId("found").textContent = found.length === 1 ? "1 example" : `${whole(found.length)} examples`;
    byId("rows").style.height = `${found.length * ROW}px`;
    byId("list").scrollTop = 0;
    drawRows();
    if (state.open) drawSteps();
  }
  const isOpen = ([task, i]) => state.open && state.open.task === task && state.open.i === i;
  function drawRows() {
    const list = byId("list"), first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
    const last = Math.min(state.found.length, first + Math.ceil(list.clientHeight / ROW) + 8), rows = [];
    for (let k = first; k < last; k++) {
      const [task, i] = state.found[k], index = indexes.get(task);
      const row = el("div", { class: `row${k === state.at ? " at" : ""}${isOpen(state.found[k]) ? " open" : ""}`, role: "option", id: `row${k}`,
        "aria-selected": String(k === state.at), title: index.words[i], onclick: () => { state.at = k; go(state.found[k]); } },
        el("b", {}, el("bdi", {}, index.words[i] || "(no text)")), el("span", {}, "→ ", el("bdi", {}, index.answers[i]), ` · ${task} · `, el("bdi", {}, index.ids[i])));
      row.style.top = `${k * ROW}px`;
      rows.push(row);
    }
    byId("rows").replaceChildren(...rows);
    for (const id of ["search", "list"]) byId(id).setAttribute("aria-activedescendant", `row${state.at}`);
  }
  function move(by) {
    const list = byId("list");
    state.at = Math.max(0, Math.min(state.found.length - 1, state.at + by));
    if (state.at * ROW < list.scrollTop) list.scrollTop = state.at * ROW;
    if ((state.at + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (state.at + 1) * ROW - list.clientHeight;
    drawRows();
  }
  function go(one) { if (one) location.hash = `#${encodeURIComponent(one[0])}/${encodeURIComponent(indexes.get(one[0]).ids[one[1]])}`; }
  function step(by) {
    const here = state.found.findIndex(isOpen), next = here < 0 ? (by > 0 ? 0 : -1) : here + by;
    if (state.found[next]) { state.at = next; move(0); go(state.found[next]); }
  }

  // -- one example ------------------------------------------------------------------------------------------------------
  function say(...words) { byId("example").replaceChildren(el("p", { class: "missing", role: "alert" }, ...words)); }
  async function follow() { // the address says which example is open
    const place = location.hash.slice(1), cut = place.indexOf("/");
    if (cut < 0) return;
    let task, id;
    try { [task, id] = [place.slice(0, cut), place.slice(cut + 1)].map(decodeURIComponent); } catch { return say("This address is not whole."); }
    const index = indexes.get(task), i = index ? index.ids.indexOf(id) : -1;
    if (i < 0) return say(`There is no example ${id} in ${index ? `the task ${task}` : "this study"}.`);
    try {
      const chunk = await load("examples", task, Math.floor(i / index.chunk));
      if (location.hash.slice(1) !== place) return; // another was chosen meanwhile
      const kept = state.order;
      state.open = { task, i, index, example: chunk[i % index.chunk] };
      const known = orders();
      Object.assign(state, { order: known.includes(kept) ? kept : (known.find((n) => paired(n)) ?? known[0]), only: null, pair: null, all: false });
      state.zeros = !state.open.example.pairs.some((p) => p[3]);
      document.title = `${id} · ${task} · trace`;
      draw();
      byId("example").scrollTop = 0;
      if (matchMedia("(max-width: 60rem)").matches) byId("example").scrollIntoView(); // there the list stands above it
      const k = state.found.findIndex(isOpen);
      if (k >= 0) { state.at = k; move(0); } else drawRows();
    } catch (error) { say(error.message); }
  }
  const orders = () => [...new Set([...state.open.example.in, ...state.open.example.out].map((s) => s[0]))].sort((a, b) => a - b);
  const paired = (n) => state.open.example.pairs.filter((p) => state.open.example.in[p[0]][0] === n && p[3]).length;
  const models = () => study.models.map((m) => m.name).filter((m) => state.open.index.models.includes(m))
    .concat(state.open.index.models.filter((m) => !sizes.has(m)));
  const of = (table, model) => table[state.open.index.models.indexOf(model)];

  function draw() {
    const { task, example } = state.open;
    byId("example").replaceChildren(
      el("div", { class: "bar" }, el("div", {}, el("p", { class: "kicker" }, task, example.group ? ` · ${example.group}` : ""), el("h2", {}, el("bdi", {}, example.id))),
        el("div", { class: "steps", id: "steps" })),
      el("div", { id: "texts" }), el("h3", {}, "What the models say"), answers(), el("h3", {}, "Pairs"), el("div", { id: "pairs" }));
    drawSteps();
    drawTexts();
    drawPairs();
  }
  function drawSteps() {
    const at = state.found.findIndex(isOpen), box = byId("steps");
    if (box) box.replaceChildren(
      at < 0 ? "not among those found" : `${whole(at + 1)} of ${whole(state.found.length)}`,
      el("button", { id: "back", "aria-label": "example before", disabled: at === 0 || !state.found.length, onclick: () => step(-1) }, "←"),
      el("button", { id: "on", "aria-label": "next example", disabled: at === state.found.length - 1, onclick: () => step(1) }, "→"));
  }

  // -- texts with marks -------------------------------------------------------------------------------------------------
  function marked(text, spans, onclick) { // spans: [start, end, class] in code points; those behind win
    const points = Array.from(clean(text)), cuts = new Set([0, points.length]);
    for (const [start, end] of spans) { cuts.add(Math.max(0, start)); cuts.add(Math.min(points.length, end)); }
    const sorted = [...cuts].sort((a, b) => a - b), pieces = [];
    for (let k = 0; k + 1 < sorted.length; k++) {
      const [start, end] = [sorted[k], sorted[k + 1]], words = points.slice(start, end).join("");
      const kinds = spans.filter((s) => s[0] <= start && end <= s[1]).map((s) => s[2]);
      const now = new Set(kinds.filter((kind) => kind.endsWith(" now")));
      const kind = now.size > 1 ? "both now" : kinds[kinds.length - 1];
      pieces.push(kind ? el("mark", { class: kind, onclick: onclick && (() => onclick(start)) }, words) : words);
    }
    return pieces;
  }
  function sideSpans(side) {
    const { example } = state.open, end = side === "in" ? 0 : 1, all = example[side], spans = [[], [], []];
    const inPair = new Set(example.pairs.filter((p) => p[3]).map((p) => p[end]));
    all.forEach(([n, , places], k) => {
      if (n !== state.order) return;
      const level = state.pair && state.pair[end] === k ? 2 : inPair.has(k) ? 1 : 0;
      for (let p = 0; p < places.length; p += 2) spans[level].push([places[p], places[p + 1], level ? `${side} ${level > 1 ? "now" : "pair"}` : "gram"]);
    });
    return spans.flat();
  }
  function drawTexts() {
    const { example } = state.open, only = (side) => (at) => {
      const over = example[side].flatMap(([n, , places], k) => n === state.order && places.some((_, p) => p % 2 === 0 && places[p] <= at && at < places[p + 1]) ? [k] : []);
      state.only = { side, over: new Set(over), words: over.length === 1 ? example[side][over[0]][1] : `${over.length} n-grams` };
      drawPairs();
    };
    const options = example.options.length ? el("ol", { type: "A" }, example.options.map((o) => el("li", {}, o === example.y ? el("b", {}, el("bdi", {}, o)) : el("bdi", {}, o)))) : "";
    const also = example.aliases.length ? el("p", { class: "small" }, "also right: ", el("bdi", {}, example.aliases.slice(0, 12).join(" · ")), example.aliases.length > 12 ? ` and ${example.aliases.length - 12} more` : "") : "";
    byId("texts").replaceChildren(
      el("div", { class: "texts" },
        el("div", { class: "text" }, el("h4", {}, "Input"), el("p", { class: "body", id: "input" }, marked(example.x, sideSpans("in"), only("in")))),
        el("div", { class: "text" }, el("h4", {}, "Output (reference)"), el("p", { class: "body", id: "output" }, marked(example.y, sideSpans("out"), only("out"))), also, options)),
      el("p", { class: "legend" }, el("span", {}, el("mark", { class: "in pair" }, "input n-gram of a pair")), el("span", {}, el("mark", { class: "out pair" }, "output n-gram of a pair")),
        el("span", {}, el("mark", { class: "gram" }, "other n-gram")), el("span", {}, "A click on a word shows its pairs alone.")));
  }

  // -- answers ------------------------------------------------------------------------------------------------------------
  function judged(answer, statistic) {
    if (answer[1] === null) return el("span", { class: "none" }, answer[2]);
    const name = statistic.replaceAll("_", " ");
    if (statistic === "sentence_chrf") return el("span", { class: "chrf" }, `chrF ${answer[1].toFixed(0)}`);
    const words = answer[1] >= 1 ? "✓ right" : answer[1] <= 0 ? "✗ wrong" : `½ ${answer[1]}`;
    return el("span", { class: answer[1] >= 1 ? "yes" : "no", title: name }, words + (answer[2] ? ` (${answer[2]})` : ""));
  }
  function answers() {
    const { example, index } = state.open;
    if (!index.models.length) return el("p", { class: "missing" }, "No model was asked.");
    const rows = models().map((m) => {
      const answer = of(example.answers, m);
      return el("tr", {}, el("th", { scope: "row" }, m), number(sizes.get(m) ? short(sizes.get(m)) : "–"), el("td", {}, answer ? judged(answer, index.statistic) : "–"),
        el("td", { class: "answer" }, answer && answer[0] !== null ? el("div", {}, answer[0] === "" ? el("span", { class: "none" }, "nothing") : answer[0]) : el("span", { class: "none" }, "no answer")));
    });
    return el("div", { class: "wide" }, el("table", { id: "answers" }, el("thead", {}, el("tr", {}, ["model", "parameters", "judged", example.options.length ? "likeliest option" : "answer"].map((h, k) => el("th", { scope: "col", class: k === 1 ? "n" : null }, h)))), el("tbody", {}, rows)));
  }

  // -- pairs --------------------------------------------------------------------------------------------------------------
  const columns = () => {
    const { example } = state.open, log = (m) => (p) => of(example.log, m)?.[p[1]] ?? null;
    return [
      ["x", "input n-gram", (p) => example.in[p[0]][1]], ["y", "output n-gram", (p) => example.out[p[1]][1]],
      ["similarity", "similarity", (p) => p[2], (v) => number(signed(v, 3))],
      ["count", "C(pair)", (p) => p[3], (v) => number(whole(v), v === null ? "never counted" : undefined)],
      ["dfx", "df(input)", (p) => example.in[p[0]][3], (v) => number(whole(v))], ["dfy", "df(output)", (p) => example.out[p[1]][3], (v) => number(whole(v))],
      ["pn", `P${"₀₁₂₃₄₅₆₇₈₉"[state.order] ?? "ₙ"}`, (p) => p[4], chance],
      ["pinf", "P∞", (p) => example.out[p[1]][5], (v) => (typeof v === "number" ? chance(v) : number("–", v))],
      ...models().map((m) => [`m ${m}`, m, log(m), chance]),
    ];
  };
  function drawPairs() {
    const { example, index } = state.open, all = example.pairs.filter((p) => example.in[p[0]][0] === state.order);
    const zero = all.filter((p) => !p[3]).length, cols = columns();
    let shown = all.filter((p) => state.zeros || p[3]);
    if (state.only) shown = shown.filter((p) => state.only.over.has(p[state.only.side === "in" ? 0 : 1]));
    const value = cols.find((c) => c[0] === state.sort[0])?.[2] ?? cols[3][2], rank = (p) => { const v = value(p); return typeof v === "number" || typeof v === "string" ? v : null; };
    shown = [...shown].sort((a, b) => { const [x, y] = [rank(a), rank(b)]; return x === y ? 0 : x === null ? 1 : y === null ? -1 : (x < y ? -1 : 1) * state.sort[1]; });
    const few = state.all ? shown : shown.slice(0, FEW);
    const tools = el("div", { class: "tools" },
      orders().map((n) => el("button", { "aria-pressed": String(n === state.order), onclick: () => { Object.assign(state, { order: n, pair: null, only: null }); drawTexts(); drawPairs(); } }, `n = ${n} (${paired(n)})`)),
      zero ? el("label", {}, el("input", { type: "checkbox", id: "zeros", checked: state.zeros, onchange: (e) => { state.zeros = e.target.checked; drawPairs(); } }), el("span", {}, `also ${whole(zero)} that no document holds`)) : "",
      state.only ? el("button", { id: "every", onclick: () => { state.only = null; drawPairs(); } }, `only pairs of “${state.only.words}” ✕`) : "");
    const head = cols.map(([key, name], k) => el("th", { scope: "col", class: k > 1 ? "n" : "words", "aria-sort": state.sort[0] === key ? (state.sort[1] < 0 ? "descending" : "ascending") : null },
      el("button", { title: key.startsWith("m ") ? "P of the output n-gram by this model" : null, onclick: () => { state.sort = [key, state.sort[0] === key ? -state.sort[1] : k > 1 ? -1 : 1]; drawPairs(); } }, name, state.sort[0] === key ? (state.sort[1] < 0 ? " ↓" : " ↑") : "")));
    const rows = few.flatMap((p) => {
      const now = state.pair === p, choose = () => { state.pair = now ? null : p; drawTexts(); drawPairs(); };
      const cells = cols.map(([, , get, show], k) => k === 0
        ? el("th", { scope: "row", class: "words" }, el("button", { class: "more", "aria-expanded": String(now), "aria-label": "documents behind the pair", onclick: (e) => { e.stopPropagation(); choose(); } }, now ? "▾" : "▸"), el("mark", { class: "in pair" }, el("bdi", {}, get(p))))
        : k === 1 ? el("td", { class: "words" }, el("mark", { class: "out pair" }, el("bdi", {}, get(p)))) : show(get(p)));
      return [el("tr", { class: `choice${now ? " now" : ""}`, onclick: choose }, cells), ...(now ? [behind(p, cols.length)] : [])];
    });
    byId("pairs").replaceChildren(tools,
      shown.length ? el("div", { class: "wide" }, el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)))
        : el("p", { class: "missing" }, all.length ? "No pair of these occurs in the corpus." : "No pair of n-grams of this example is similar enough."),
      few.length < shown.length ? el("button", { onclick: () => { state.all = true; drawPairs(); } }, `all ${whole(shown.length)} pairs`) : "",
      all.length ? el("p", { class: "small" }, `C: documents that hold both. df: documents that hold one. P${"₀₁₂₃₄₅₆₇₈₉"[state.order] ?? "ₙ"} = C / df(input). P∞: the ∞-gram model${index.models.length ? "; under each model its own probability of the output n-gram, behind the prompt" : ""}.`) : "");
  }
  function behind(p, width) {
    const { task, example, index } = state.open, box = el("div", {}, el("p", { class: "none" }, p[5] ? "Loading …" : p[3] ? "No document was kept." : "No document holds both."));
    const y = example.out[p[1]], rows = models().map((m) => { const [log, delta] = [of(example.log, m)?.[p[1]], of(example.delta, m)?.[p[1]]];
      return el("tr", {}, el("th", { scope: "row" }, m), chance(log ?? null), number(signed(log ?? null, 2)), number(signed(delta ?? null, 2))); });
    const likely = el("div", {}, el("h4", {}, "How likely “", el("bdi", {}, y[1]), "” is"), index.models.length ? el("table", {}, el("thead", {}, el("tr", {}, ["model", "P", "log P", "Δ"].map((h, k) => el("th", { scope: "col", class: k ? "n" : null, title: h === "Δ" ? "log P less its mean behind inputs of other examples: what this input adds" : null }, h)))), el("tbody", {}, rows)) : "",
      el("p", { class: "small" }, `P∞ ${typeof y[5] === "number" ? probability(y[5]) : `– (${y[5]})`}. Similarity ${signed(p[2], 3)}. The input n-gram stands ${whole(example.in[p[0]][4])} times in ${whole(example.in[p[0]][3])} documents, the output n-gram ${whole(y[4])} times in ${whole(y[3])}.`));
    if (p[5]) load("documents", task, p[5][0]).then((all) => {
      const found = all[p[5][1]];
      box.replaceChildren(...found.map(([source, id, excerpt, a, b, c, d]) => el("blockquote", {},
        el("p", {}, marked(excerpt, [[a, b, "in now"], [c, d, "out now"]].filter((s) => s[0] >= 0))), el("cite", {}, el("bdi", {}, source), " · ", el("bdi", {}, id)))),
      found.length < p[3] ? el("p", { class: "small" }, `${found.length} of ${whole(p[3])}, drawn at random.`) : "");
    }).catch((error) => box.replaceChildren(el("p", { class: "missing", role: "alert" }, error.message)));
    return el("tr", { class: "behind" }, el("td", { colspan: width }, el("div", { class: "inner" }, likely, el("div", {}, el("h4", {}, "Documents that hold both"), box))));
  }

  // -- from the top -------------------------------------------------------------------------------------------------------
  function listen() {
    for (const id of ["search", "task", "model", "right", "paired"]) byId(id).addEventListener("input", search);
    byId("list").addEventListener("scroll", drawRows, { passive: true });
    addEventListener("resize", drawRows);
    addEventListener("hashchange", follow);
    byId("skip").addEventListener("click", (e) => { e.preventDefault(); byId("example").focus(); });
    addEventListener("keydown", (e) => {
      if (e.ctrlKey || e.metaKey || e.altKey) return;
      const typing = e.target.matches("input, select"), listing = e.target.id === "search" || e.target.id === "list";
      const key = { ArrowDown: () => move(1), ArrowUp: () => move(-1), PageDown: () => move(8), PageUp: () => move(-8), Enter: () => go(state.found[state.at]) }[e.key];
      if (listing && key) { e.preventDefault(); key(); }
      else if (!typing && e.key === "/") { e.preventDefault(); byId("search").focus(); byId("search").select(); }
      else if (!typing && (e.key === "ArrowRight" || e.key === "ArrowLeft")) { e.preventDefault(); step(e.key === "ArrowRight" ? 1 : -1); }
    });
  }
  async function start() {
    byId("task").append(el("option", { value: "" }, "all tasks"), ...study.tasks.map((t) => el("option", { value: t.name }, t.name)));
    byId("model").append(el("option", { value: "" }, "any model"), ...study.models.map((m) => el("option", { value: m.name }, m.name)));
    listen();
    const failed = [];
    const read = await Promise.all(study.tasks.map((t) => load("index", t.name, 0).catch((error) => { failed.push(error.message); })));
    study.tasks.forEach((t, k) => {
      if (!read[k]) return;
      const index = read[k];
      index.text = index.ids.map((id, i) => `${id} ${index.words[i]} ${index.answers[i]}`.toLowerCase());
      indexes.set(t.name, index);
    });
    search();
    if (failed.length) say(failed.join(" "));
    else if (!study.tasks.length) say("The study names no task, so there is no example to trace.");
    else if (!state.found.length) say("No task has an evaluated example.");
    else if (location.hash.includes("/")) await follow();
    else say("Choose an example on the left, or search for one.");
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
  }
  start();
})();
