"use strict";

// More would be a job for the command line.
const MOST = 10000;
// URLs in one request; results that are shown at once; those whose parts are fetched unasked.
const BATCH = 500;
const SHOWN = 100;
const EXPLAINED = 20;
const AT_ONCE = 4;
const REMEMBERED = 50;

const EXAMPLES = [
  "https://en.wikipedia.org/wiki/Phishing",
  "http://paypal.com.account-verify.example/signin?session=8f3a1c",
  "https://my-shop.example/account/login",
];

const PARTS = {
  scheme: "scheme", user_info: "user name", subdomain: "subdomain", registrable_label: "domain",
  public_suffix: "public suffix", port: "port", path: "path", query: "query", fragment: "fragment",
};
const VERDICTS = { phishing: "⚠ Phishing", suspicious: "? Suspicious", benign: "✓ Benign" };

const ADVICE = {
  phishing: "Do not open it, and enter nothing there. If it came in a message, report or delete the message; reach the organisation by an address or a number that you already know.",
  suspicious: "Enter no password and no payment details there until you have checked by another way: an address that you know, or a call to the organisation.",
  benign: "Nothing in the address speaks clearly for phishing. That is no promise: look at the site’s name before you enter a password.",
};

const byId = (id) => document.getElementById(id);
const form = byId("form"), input = byId("urls"), button = byId("check");
const results = byId("results"), status = byId("status"), legend = byId("legend");
const offline = byId("offline"), tools = byId("tools"), filters = byId("filters");
const more = byId("more"), past = byId("past");

// Text only ever enters the page as text; addresses are never made into links.
function element(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

// Control, bidirectional and invisible characters are shown by their number.
function visible(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

// The whole address stands above its table; there a very long part is only named.
const shortened = (text) => (text.length > 80 ? `${text.slice(0, 60)} … ${text.slice(-12)}` : text);

const signed = (x) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(2);

function percent(p) {
  if (p > 0.9995) return "over 99.9 %";
  if (p < 0.0005) return "under 0.1 %";
  return `${(p * 100).toFixed(1)} %`;
}

// The strongest part gets the full colour; parts under 1 in logit never look strong.
function strength(segments) {
  const most = Math.max(1, ...segments.map((s) => Math.abs(s.contribution)));
  return (segment) => segment.contribution / most;
}

function highlighted(url, segments) {
  const share = strength(segments);
  const line = element("p", "url");
  // Offsets count bytes.
  const bytes = new TextEncoder().encode(url);
  const text = (from, to) => visible(new TextDecoder().decode(bytes.subarray(from, to)));
  let shown = 0;
  for (const s of segments) {
    line.append(text(shown, s.start));
    const span = element("span", "", text(s.start, s.end));
    const x = share(s);
    if (Math.abs(x) > 0.05) {
      span.style.backgroundColor = `rgba(var(--${x > 0 ? "towards" : "away"}), ${Math.abs(x) * 0.5})`;
    }
    span.title = `${PARTS[s.part] ?? s.part}: ${signed(s.contribution)}`;
    line.append(span);
    shown = s.end;
  }
  line.append(text(shown, bytes.length));
  return line;
}

function meter(x) {
  const bar = element("i");
  const length = Math.abs(x) * 50;
  bar.style.width = `${length}%`;
  bar.style.left = `${x > 0 ? 50 : 50 - length}%`;
  bar.style.backgroundColor = `rgb(var(--${x > 0 ? "towards" : "away"}))`;
  const scale = element("div", "scale", bar);
  scale.setAttribute("aria-hidden", "true");
  return scale;
}

function table(segments) {
  const share = strength(segments);
  const head = element("tr", "");
  for (const [className, name] of [["part", "Part"], ["", "Text"], ["number", "Effect"], ["meter", ""]]) {
    const cell = element(name ? "th" : "td", className, name);
    if (name) cell.scope = "col";
    head.append(cell);
  }
  const rows = segments.map((s) => element("tr", "",
    element("td", "part", PARTS[s.part] ?? s.part),
    element("td", "text", visible(shortened(s.text))),
    element("td", "number", signed(s.contribution)),
    element("td", "meter", meter(share(s)))));
  return element("table", "parts", element("thead", "", head), element("tbody", "", ...rows));
}

// Where a logit lies among the verdicts, in percent: benign up to 60, suspicious up to 75.
function position(logit) {
  const { suspicious, phishing } = document.body.dataset;
  const [low, high] = [Number(suspicious), Number(phishing)];
  if (logit < low) return Math.max(1, 60 - (low - logit) * 4);
  if (logit < high) return 60 + 15 * (logit - low) / (high - low);
  return Math.min(99, 75 + (logit - high) * 4);
}

function scale(logit) {
  const mark = element("i");
  mark.style.left = `${position(logit)}%`;
  const line = element("div", "verdicts", mark);
  line.setAttribute("aria-hidden", "true");
  return line;
}

// Asks the service; a reply that is no success becomes an error with its number.
async function ask(path, body) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    offline.hidden = false;
    throw new Error("The service cannot be reached.");
  }
  offline.hidden = true;
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const detail = answer.detail ? ` (${answer.detail})` : "";
  throw new Error(answer.code ? `${answer.code}: ${answer.title}${detail}` : `HTTP ${response.status}`);
}

// What is remembered may be switched off or full: the page works without.
function recall(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch { /* no storage */ }
}

// Tells this browser from others, so that its last word on an address counts once a day.
function clientId() {
  let id = recall("phishcnn.client", "");
  if (!id) {
    id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
    remember("phishcnn.client", id);
  }
  return id;
}

function feedback(url) {
  const said = element("span", "said");
  said.setAttribute("role", "status");
  const group = element("div", "feedback", element("span", "question", "You know what it is?"));
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", "Feedback");
  const choices = [["phishing", "It is phishing"], ["legitimate", "It is legitimate"]].map(([truth, text]) => {
    const choice = element("button", "quiet small", text);
    choice.type = "button";
    choice.setAttribute("aria-pressed", "false");
    choice.addEventListener("click", async () => {
      choices.forEach((c) => { c.disabled = true; });
      said.textContent = "Sending …";
      try {
        await ask("v1/feedback", { url, truth, client: clientId() });
        choices.forEach((c) => c.setAttribute("aria-pressed", String(c === choice)));
        said.textContent = "Thank you, it is stored.";
      } catch (error) {
        said.textContent = `Not stored. ${error.message}`;
      }
      choices.forEach((c) => { c.disabled = false; });
    });
    return choice;
  });
  group.append(...choices, said);
  return group;
}

// One result. Its parts come with `explain`, at once or when they are asked for.
function card(result) {
  const { url, verdict } = result;
  if (result.error) {
    const again = element("button", "quiet small", "Try again");
    again.type = "button";
    const item = element("li", "result", element("div", "head", element("h2", "badge", "Not scored"),
      element("span", "", `${result.error.code ? `${result.error.code}: ` : ""}${result.error.message}`)),
      element("p", "url", visible(shortened(url))));
    if (!result.error.code) {
      again.addEventListener("click", () => form.requestSubmit());
      item.append(again);
    }
    return item;
  }
  const probability = element("span", "probability", "Probability ",
    element("b", "", percent(result.probability)), element("span", "", " at even odds"));
  const address = element("div", "", element("p", "url", visible(url)));
  const body = element("div", "parts-body", element("p", "note", "Loading …"));
  const details = element("details", "", element("summary", "", "Effect of each part"), body);
  let asked = false;
  async function explain() {
    if (asked) return;
    asked = true;
    try {
      const { segments } = await ask("v1/explain", { url });
      address.replaceChildren(highlighted(url, segments));
      body.replaceChildren(table(segments),
        element("p", "note", "The effect of a part is how far the logit falls when the part is hidden. Effects need not add up."));
    } catch (error) {
      asked = false;
      body.replaceChildren(element("p", "note", error.message));
    }
  }
  details.addEventListener("toggle", () => details.open && explain());
  const item = element("li", `result ${verdict}`,
    element("div", "head", element("h2", "badge", VERDICTS[verdict] ?? verdict), probability,
      element("span", "logit", `logit ${signed(result.logit)}`)),
    scale(result.logit), address);
  if (result.truncated) item.append(element("p", "note", "Only the start of this address was read."));
  item.append(element("p", "advice", ADVICE[verdict] ?? ""), details);
  if (document.body.dataset.feedback === "true") item.append(feedback(url));
  item.explain = explain;
  item.details = details;
  return item;
}

// The results of the last check, the kind of them that is shown, and how many of these.
let all = [], kind = "all", room = SHOWN, run = 0;

const kindOf = (result) => (result.error ? "not scored" : result.verdict);

async function show() {
  const mine = run;
  const chosen = kind === "all" ? all : all.filter((r) => kindOf(r) === kind);
  const cards = chosen.slice(0, room).map((result) => (result.card ??= card(result)));
  results.replaceChildren(...cards);
  more.hidden = chosen.length <= room;
  more.textContent = `Show ${Math.min(SHOWN, chosen.length - room)} more of ${chosen.length}`;
  if (all.length === 1 && cards[0].details) cards[0].details.open = true;
  if (all.length > EXPLAINED) return;
  const waiting = cards.filter((c) => c.explain);
  async function worker() {
    while (waiting.length > 0 && mine === run) await waiting.shift().explain();
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

function counts() {
  const by = new Map([["phishing", 0], ["suspicious", 0], ["benign", 0], ["not scored", 0]]);
  for (const result of all) by.set(kindOf(result), (by.get(kindOf(result)) ?? 0) + 1);
  return [...by].filter(([, n]) => n > 0);
}

function showFilters() {
  const kinds = [["all", all.length], ...counts()];
  filters.replaceChildren(...kinds.map(([name, n]) => {
    const chip = element("button", "quiet small", `${name} ${n}`);
    chip.type = "button";
    chip.setAttribute("aria-pressed", String(name === kind));
    chip.addEventListener("click", () => {
      kind = name;
      room = SHOWN;
      for (const other of filters.children) other.setAttribute("aria-pressed", String(other === chip));
      show();
    });
    return chip;
  }));
  tools.hidden = all.length < 2;
}

async function check() {
  // Lone surrogates cannot be sent as JSON: as UTF-8 they become U+FFFD.
  const clean = new TextDecoder().decode(new TextEncoder().encode(input.value));
  const lines = clean.split(/\r?\n/).filter((line) => line.trim() !== "");
  const urls = lines.slice(0, MOST);
  const mine = ++run;
  all = [];
  kind = "all";
  room = SHOWN;
  results.replaceChildren();
  legend.hidden = more.hidden = tools.hidden = true;
  if (urls.length === 0) {
    status.textContent = "Paste at least one address.";
    input.focus();
    return;
  }
  button.disabled = true;
  status.textContent = "Checking …";
  for (let i = 0; i < urls.length && mine === run; i += BATCH) {
    const some = urls.slice(i, i + BATCH);
    try {
      const { results: answers } = await ask("v1/score/batch", { urls: some });
      all.push(...answers.map((answer, j) => ({ ...answer, url: some[j] })));
    } catch (error) {
      all.push(...some.map((url) => ({ url, error: { message: error.message } })));
    }
    if (urls.length > BATCH) status.textContent = `Checking … ${all.length} of ${urls.length}`;
  }
  if (mine !== run) return;
  const summary = counts().map(([name, n]) => `${n} ${name}`).join(", ");
  const cut = lines.length > MOST ? `. Only the first ${MOST} of ${lines.length} addresses: for more, there is the command line` : "";
  status.textContent = `${urls.length} checked: ${summary}${cut}`;
  legend.hidden = all.every((r) => r.error);
  button.disabled = false;
  showFilters();
  keepHistory();
  await show();
}

// RFC 4180; a cell that a spreadsheet would run as a formula gets an apostrophe in front.
function csv(rows) {
  const cell = (value) => {
    const text = String(value ?? "");
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function save() {
  const rows = all.map((r) => [r.url, r.logit, r.probability, r.verdict, r.truncated, r.error?.message]);
  const text = csv([["url", "logit", "probability", "verdict", "truncated", "error"], ...rows]);
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "phishcnn.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function keepHistory() {
  const scored = all.filter((r) => !r.error).slice(0, REMEMBERED).map(({ url, verdict, probability }) => ({ url, verdict, probability }));
  const before = recall("phishcnn.history", []).filter((h) => !scored.some((s) => s.url === h.url));
  remember("phishcnn.history", [...scored, ...before].slice(0, REMEMBERED));
  showHistory();
}

function showHistory() {
  const history = recall("phishcnn.history", []);
  byId("history").hidden = history.length === 0;
  past.replaceChildren(...history.map(({ url, verdict, probability }) => {
    const again = element("button", "past", element("span", `badge ${verdict}`, VERDICTS[verdict] ?? verdict),
      element("span", "url", visible(shortened(url))), element("span", "number", percent(probability)));
    again.type = "button";
    again.addEventListener("click", () => {
      input.value = url;
      form.requestSubmit();
      scrollTo({ top: 0 });
    });
    return element("li", "", again);
  }));
}

async function read(file) {
  if (!file) return;
  if (file.size > 16 << 20) {
    status.textContent = "This file is larger than 16 MiB: for so many addresses, there is the command line.";
    return;
  }
  input.value = await file.text();
  form.requestSubmit();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  check();
});
input.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
byId("example").addEventListener("click", () => {
  input.value = EXAMPLES.join("\n");
  form.requestSubmit();
});
byId("open").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", (event) => {
  read(event.target.files[0]);
  event.target.value = "";
});
more.addEventListener("click", () => {
  room += SHOWN;
  show();
});
byId("save").addEventListener("click", save);
byId("forget").addEventListener("click", () => {
  remember("phishcnn.history", []);
  showHistory();
  status.textContent = "The list is forgotten.";
});
for (const kind of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    form.classList.toggle("dropping", kind === "dragover");
    if (kind === "drop") read(event.dataTransfer.files[0]);
  });
}
window.addEventListener("online", () => { offline.hidden = true; });
window.addEventListener("offline", () => { offline.hidden = false; });
showHistory();
