"use strict";

// More would be a job for the command line.
const MOST = 200;
const AT_ONCE = 4;

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

const byId = (id) => document.getElementById(id);
const form = byId("form"), input = byId("urls"), button = byId("check");
const results = byId("results"), status = byId("status"), legend = byId("legend");

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

function card(url, answer) {
  const item = element("li", `result ${answer.verdict}`);
  const probability = element("span", "probability", "Probability ",
    element("b", "", percent(answer.probability)), element("span", "", " at even odds"));
  item.append(element("div", "head",
    element("h2", "badge", VERDICTS[answer.verdict] ?? answer.verdict), probability,
    element("span", "logit", `logit ${signed(answer.logit)}`)));
  item.append(scale(answer.logit), highlighted(url, answer.segments));
  if (answer.truncated) item.append(element("p", "note", "Only the start of this address was read."));
  const details = element("details", "", element("summary", "", "Effect of each part"),
    table(answer.segments),
    element("p", "note", "The effect of a part is how far the logit falls when the part is hidden. Effects need not add up."));
  item.append(details);
  return item;
}

function failure(url, message) {
  return element("li", "result", element("div", "head", element("h2", "badge", "Not scored"), message),
    element("p", "url", visible(url)));
}

async function explain(url) {
  const response = await fetch("v1/explain", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ url }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${answer.code}: ${answer.title}`);
  return answer;
}

let run = 0;

async function check() {
  // Lone surrogates cannot be sent as JSON: as UTF-8 they become U+FFFD.
  const clean = new TextDecoder().decode(new TextEncoder().encode(input.value));
  const all = clean.split(/\r?\n/).filter((line) => line.trim() !== "");
  const urls = all.slice(0, MOST);
  results.replaceChildren();
  legend.hidden = true;
  if (urls.length === 0) {
    status.textContent = "Paste at least one address.";
    input.focus();
    return;
  }
  const mine = ++run;
  button.disabled = true;
  status.textContent = "Checking …";
  const cards = urls.map(() => null);
  const counts = { phishing: 0, suspicious: 0, benign: 0, "not scored": 0 };
  let next = 0;
  async function worker() {
    while (next < urls.length && mine === run) {
      const i = next++;
      try {
        const answer = await explain(urls[i]);
        counts[answer.verdict]++;
        cards[i] = card(urls[i], answer);
      } catch (error) {
        counts["not scored"]++;
        cards[i] = failure(urls[i], error instanceof TypeError ? "The service cannot be reached." : error.message);
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (mine !== run) return;
  results.replaceChildren(...cards.filter(Boolean));
  if (urls.length === 1) results.querySelector("details")?.setAttribute("open", "");
  const summary = Object.entries(counts).filter(([, n]) => n > 0).map(([name, n]) => `${n} ${name}`).join(", ");
  const cut = all.length > MOST ? ` – only the first ${MOST} of ${all.length} addresses` : "";
  status.textContent = `${urls.length} checked: ${summary}${cut}`;
  legend.hidden = counts["not scored"] === urls.length;
  button.disabled = false;
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
