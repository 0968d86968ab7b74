// The page in a real Chromium: node page.mjs PHISHCNN [SCREENSHOT_FOLDER]
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [binary, pictures] = process.argv.slice(2);
const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "phishcnn-page-"));

function start(listen = "127.0.0.1:0") {
  const child = spawn(binary, ["serve", "--listen", listen, "--feedback", join(folder, "feedback.sqlite")],
    { stdio: ["ignore", "inherit", "pipe"] });
  const address = new Promise((resolve, reject) => {
    let log = "";
    child.stderr.on("data", (data) => {
      log += data;
      const found = / on (http:\S+)\n/.exec(log);
      if (found) resolve(found[1]);
    });
    child.on("exit", () => reject(new Error(log)));
  });
  return { child, address, end: new Promise((resolve) => child.on("exit", resolve)) };
}

const PHISHING = "http://paypal.com.secure-login.account-verify.ru/webscr?cmd=_login";
const BENIGN = "https://en.wikipedia.org/wiki/Phishing";
// HTML, a script address, a bidirectional override, an unpaired quote.
const HOSTILE = ["javascript:alert(1)", "http://a/<img src=x onerror=alert(1)>", "http://a/\u202egpj.exe", "\"><script>alert(1)</script>"];

let service = start();
const address = await service.address;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 900 }, ...options });
  const page = await context.newPage();
  page.wrong = [];
  page.on("console", (message) => {
    if (message.type() === "error") page.wrong.push(message.text());
  });
  page.on("pageerror", (error) => page.wrong.push(String(error)));
  page.on("dialog", (dialog) => { page.wrong.push(`dialog ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(address) && !url.startsWith("blob:")) page.wrong.push(`request to ${url}`);
  });
  await page.goto(address);
  return page;
}

async function check(page, text) {
  await page.fill("#urls", text);
  await page.click("#check");
  await page.waitForFunction(() => / checked: /.test(document.getElementById("status").textContent));
}

async function accessible(page, state) {
  // Half-faded text has half its contrast.
  await page.evaluate(() => Promise.all(document.getAnimations().map((a) => a.finished)));
  await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() => window.axe.run());
  const serious = violations.filter((v) => ["serious", "critical"].includes(v.impact));
  assert.deepEqual(serious.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).slice(0, 3)}`), [], `axe in state ${state}`);
}

const tests = {
  async "one address: verdict, parts, advice"() {
    const page = await open();
    await accessible(page, "empty");
    await check(page, PHISHING);
    assert.equal(await page.textContent("#results .badge"), "⚠ Phishing");
    await page.waitForSelector(".parts tbody tr");
    assert.ok(await page.locator(".url span").count() > 3);
    assert.match(await page.textContent(".advice"), /Do not open it/);
    assert.equal(await page.locator("#results a").count(), 0);
    await accessible(page, "one result");
    assert.deepEqual(page.wrong, []);
  },

  async "many addresses: summary, filters, file"() {
    const page = await open();
    const urls = Array.from({ length: 1200 }, (_, i) => `https://host${i}.example/path/${i}`);
    const file = join(folder, "urls.txt");
    writeFileSync(file, [PHISHING, ...urls].join("\r\n"));
    await page.setInputFiles("#file", file);
    await page.waitForFunction(() => /^1201 checked: 1 phishing/.test(document.getElementById("status").textContent), null, { timeout: 60000 });
    assert.equal(await page.locator("#results > li").count(), 100);
    await page.click("#more");
    assert.equal(await page.locator("#results > li").count(), 200);
    await page.click("#filters button:has-text('phishing 1')");
    assert.equal(await page.locator("#results > li").count(), 1);
    // Parts are fetched when they are asked for.
    assert.equal(await page.locator(".parts").count(), 0);
    await page.click("#results summary");
    await page.waitForSelector(".parts");
    const download = page.waitForEvent("download");
    await page.click("#save");
    const csv = readFileSync(await (await download).path(), "utf8").split("\r\n");
    assert.equal(csv.length, 1203);
    assert.ok(csv[1].startsWith(PHISHING) && csv[1].includes(",phishing,"));
    await accessible(page, "many results");
    assert.deepEqual(page.wrong, []);
  },

  async "a dropped file"() {
    const page = await open();
    const data = await page.evaluateHandle((text) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([text], "urls.txt", { type: "text/plain" }));
      return transfer;
    }, `${BENIGN}\n${PHISHING}`);
    await page.dispatchEvent("#form", "drop", { dataTransfer: data });
    await page.waitForFunction(() => /^2 checked/.test(document.getElementById("status").textContent));
    assert.deepEqual(page.wrong, []);
  },

  async "hostile text stays text"() {
    const page = await open();
    await check(page, HOSTILE.join("\n"));
    await page.waitForTimeout(300);
    const texts = await page.locator("#results .url").allTextContents();
    assert.ok(texts.includes("javascript:alert(1)") && texts.includes(HOSTILE[1]));
    assert.ok(texts.includes("http://a/\\u{202e}gpj.exe"));
    assert.equal(await page.locator("#results a, #results img, #results script").count(), 0);
    assert.deepEqual(page.wrong, []);
  },

  async "feedback is stored, once for a browser and day"() {
    const page = await open();
    await check(page, BENIGN);
    await page.click("text=It is phishing");
    await page.waitForSelector("text=Thank you, it is stored.");
    await page.click("text=It is legitimate");
    await page.waitForFunction(() => document.querySelector(".feedback button:nth-of-type(2)").getAttribute("aria-pressed") === "true");
    await accessible(page, "feedback");
    assert.deepEqual(page.wrong, []);
  },

  async "keyboard alone"() {
    const page = await open();
    await page.focus("#urls");
    await page.keyboard.type(BENIGN);
    await page.keyboard.press("Control+Enter");
    await page.waitForSelector("#results .benign");
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.id), "check");
    // Everything that can be clicked can be reached.
    const reached = new Set();
    for (let i = 0; i < 15; i++) {
      await page.keyboard.press("Tab");
      reached.add(await page.evaluate(() => document.activeElement.textContent));
    }
    for (const name of ["Try examples", "Open a file", "Effect of each part", "It is phishing", "It is legitimate"]) {
      assert.ok([...reached].some((text) => text.includes(name)), name);
    }
  },

  async "history stays in this browser"() {
    const page = await open();
    await check(page, `${PHISHING}\n${BENIGN}`);
    await page.reload();
    await page.click("#history summary");
    assert.equal(await page.locator("#past li").count(), 2);
    await accessible(page, "history");
    await page.click("#past li:first-child button");
    await page.waitForSelector("#results .phishing");
    await page.click("#forget");
    assert.equal(await page.locator("#history").isVisible(), false);
    await page.reload();
    assert.equal(await page.locator("#history").isVisible(), false);
    assert.deepEqual(page.wrong, []);
  },

  async "errors are named"() {
    const page = await open();
    await check(page, `${"x".repeat(70000)}\n${BENIGN}`);
    assert.match(await page.textContent("#results li:first-child .head"), /202/);
    await page.waitForSelector("#results .benign");
  },

  async "phone width has no sideways scrolling"() {
    for (const colorScheme of ["light", "dark"]) {
      const page = await open({ viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme });
      await page.click("#example");
      await page.waitForSelector("#results .url span");
      await page.waitForTimeout(500);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
      await accessible(page, `phone, ${colorScheme}`);
      if (pictures) await page.screenshot({ path: join(pictures, `page-phone-${colorScheme}.png`) });
      assert.deepEqual(page.wrong, []);
    }
  },

  async "screenshots"() {
    if (!pictures) return;
    for (const colorScheme of ["light", "dark"]) {
      const page = await open({ colorScheme });
      await check(page, PHISHING);
      await page.waitForSelector(".parts tbody tr");
      await page.waitForTimeout(400);
      await page.screenshot({ path: join(pictures, `page-${colorScheme}.png`), fullPage: true });
      await page.click("#example");
      await page.waitForTimeout(800);
      await page.screenshot({ path: join(pictures, `page-many-${colorScheme}.png`), fullPage: true });
    }
  },

  async "the service goes away and comes back"() {
    const page = await open();
    await check(page, BENIGN);
    service.child.kill("SIGTERM");
    await service.end;
    await page.click("text=It is phishing");
    await page.waitForSelector("text=Not stored. The service cannot be reached.");
    assert.ok(await page.locator("#offline").isVisible());
    await check(page, PHISHING);
    assert.match(await page.textContent("#results li"), /cannot be reached/);
    await accessible(page, "offline");
    service = start(new URL(address).host);
    await service.address;
    await page.click("text=Try again");
    await page.waitForSelector("#results .phishing");
    assert.equal(await page.locator("#offline").isVisible(), false);
  },

  async "Swagger UI works from the binary alone"() {
    const page = await open();
    await page.goto(`${address}/apidocs/`);
    await page.waitForSelector("#operations-v1-score_batch");
    assert.deepEqual(page.wrong.filter((w) => !w.includes("favicon")), []);
  },
};

let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    await test();
    console.log(`ok      ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
  for (const context of browser.contexts()) await context.close();
}
await browser.close();
service.child.kill("SIGTERM");
await service.end;
rmSync(folder, { recursive: true });
process.exit(failed ? 1 : 0);
