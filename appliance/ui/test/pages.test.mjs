// The burn-in's pages and the stake's in a real browser: what a person sees, reads aloud, opens, and prints.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import test, { after, before } from "node:test";
import { open } from "../../../attest/verify-web/test/browser/chromium.mjs";
import { stake, start, whatIf } from "./server.mjs";

const TEXT_MILLISECONDS_MAX = 30_000;
let server;
let page;

before(async () => {
  server = await start();
  page = await open("about:blank");
  await page.call("Runtime.enable");
});
after(async () => {
  await page?.close();
  server?.stop();
});

/** Goes to a page and waits, in it, until its text has all of `words`. */
const visit = async (path, ...words) => {
  await page.call("Page.navigate", { url: server.url + path });
  return waitFor(...words);
};

const waitFor = (...words) => page.evaluate(`new Promise((resolve, reject) => {
  const end = Date.now() + ${TEXT_MILLISECONDS_MAX}, words = ${JSON.stringify(words)};
  const look = () => {
    const text = document.body?.innerText ?? "";
    if (location.href.startsWith("http") && words.every((word) => text.includes(word))) return resolve(text);
    if (Date.now() > end) return reject(new Error("the page never showed " + words.filter((word) => !text.includes(word)) + "; it shows " + text.slice(0, 2000)));
    setTimeout(look, 20);
  };
  look();
})`);

const all = (selector, what) => page.evaluate(`[...document.querySelectorAll(${JSON.stringify(selector)})].map((one) => ${what})`);

/** Nothing is wider than the window, whatever hardware calls itself. */
const fits = async () => assert.equal(await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"), 0);

const size = (width) => page.call("Emulation.setDeviceMetricsOverride", { width, height: 900, deviceScaleFactor: 1, mobile: false });
const dark = (scheme) => page.call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });

const keepPicture = async (name) => {
  const folder = process.env.UI_PICTURES;
  if (!folder) return;
  const { data } = await page.call("Page.captureScreenshot", { captureBeyondViewport: true });
  writeFileSync(`${folder}/${name}.png`, Buffer.from(data, "base64"));
};

const keepPictures = async (name) => {
  for (const [width, scheme] of [[1280, "light"], [1280, "dark"], [400, "light"], [400, "dark"]]) {
    await size(width);
    await dark(scheme);
    await fits();
    await keepPicture(`${name}-${width}-${scheme}`);
  }
  await size(1280);
  await dark("light");
};

test("a failed burn-in says why, shows figures with rules, and its curves as numbers too", async () => {
  await visit("/hosts/fail/burn-in", "Failed", "Forgemaker FM-2224", "R12-U07");
  const view = server.story("fail");
  const text = await waitFor("slowest-second 71 permille, the rule is at least 100", "9 blocks at byte 48,318,382,080 came back changed", "is an outlier: 50.8 % of");
  assert.ok(text.includes(view.profile_digest) && text.includes(view.stream.sha256));
  assert.deepEqual(await all("#reasons li", "one.textContent"), view.verdict.reasons);
  // The stages with faults are open, the others are not.
  assert.deepEqual(await all("#stages > details", "[one.firstElementChild.textContent.split(':')[0], one.open]"),
    view.stages.map((stage) => [stage.name, stage.tasks.some((task) => task.faults.length > 0)]));
  // Every figure of an opened stage with its unit and what its rule says of it.
  await page.evaluate("document.querySelectorAll('#stages details').forEach((one) => (one.open = true))");
  await waitFor("402,117 operations/s", "943 permille", "does not hold: slowest-second at least 100 permille");
  const figures = view.stages.flatMap((stage) => stage.tasks.flatMap((task) => task.figures));
  assert.equal((await all("#stages tbody tr:not(.group)", "1")).length, figures.length);
  // Each curve has a label, and a table with as many rows as it has points.
  await page.evaluate("document.querySelectorAll('#plots > details').forEach((one) => (one.open = true))");
  await page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))");
  assert.equal((await all("#plots svg", "1")).length, view.series.length);
  const hot = (await all("#plots svg", "one.getAttribute('aria-label')")).filter((label) => label.startsWith("temperature of drive S7450N0006"));
  assert.ok(hot.length === 2 && hot.every((label) => /from \d+ °C to 7\d °C/.test(label)), hot.join());
  const points = view.series.find((series) => series.task.startsWith("storage/") && series.device === "drive S7450N0006").points;
  const rows = await page.evaluate(`(async () => {
    const card = [...document.querySelectorAll("#plots > details[data-key=storage] .device")].find((one) => one.textContent.includes("S7450N0006"));
    card.querySelector("details").open = true;
    await new Promise((done) => setTimeout(done, 50));
    return [...card.querySelectorAll("tbody tr")].map((row) => row.textContent);
  })()`);
  assert.equal(rows.length, points.length);
  assert.ok(rows[0].startsWith(`0${new Intl.NumberFormat("en").format(points[0][1])} MiB/s`), rows[0]);
  await keepPictures("fail");
});

test("what hardware calls itself is text", async () => {
  await visit("/hosts/fail/burn-in", "Failed");
  await page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))");
  await waitFor(`<img src=x onerror="document.title='owned'"> 3.84TB`);
  await visit("/hosts/fail/burn-in/report", `<img src=x onerror="document.title='owned'"> 3.84TB`);
  assert.equal((await all("img", "1")).length, 0);
  assert.notEqual(await page.evaluate("document.title"), "owned");
  // And were it markup, it could not run: scripts come from the appliance's own files only.
  const ran = await page.evaluate(`new Promise((resolve) => {
    document.addEventListener("securitypolicyviolation", () => resolve("refused"));
    const script = document.createElement("script");
    script.textContent = "document.title = 'owned'";
    document.body.append(script);
    setTimeout(() => resolve(document.title), 2000);
  })`);
  assert.equal(ran, "refused");
});

test("a running burn-in goes on while somebody looks, and leaves open what he opened", async () => {
  server.shown.set("live", "waiting");
  await visit("/hosts/live/burn-in", "Not begun", "at most ");
  server.shown.set("live", "running");
  const view = server.story("running");
  const first = view.stages.flatMap((stage) => stage.tasks).find((task) => task.state === "running");
  const text = await waitFor(`Running, ${Math.floor(view.permille / 10)} %`, "over 2 boots", "left");
  assert.match(text, new RegExp(`${first.device}\\s+ACME FlashRack 7450 3.84TB\\s+\\S.*\\s+42 %, .* left`));
  const bars = await all("#stages [role=progressbar]", "[one.getAttribute('aria-label'), one.getAttribute('aria-valuenow'), one.firstElementChild.style.width]");
  assert.ok(bars.some(([label, now, width]) => label === first.id && now === "42" && width === "42%"), JSON.stringify(bars));
  await keepPictures("running");
  // He opens the finished stage and stands on its heading; the next look changes neither.
  await page.evaluate("{ const cpu = document.querySelector('#stages details'); cpu.open = true; cpu.firstElementChild.focus(); }");
  server.shown.set("live", "pass");
  await waitFor("Passed");
  assert.deepEqual(await page.evaluate("[document.querySelector('#stages details').open, document.activeElement.textContent.startsWith('cpu:')]"), [true, true]);
  assert.equal(await page.evaluate("document.getElementById('whole').hidden"), true);
  assert.equal(await page.evaluate("document.getElementById('report').getAttribute('href')"), "/hosts/live/burn-in/report");
});

test("no burn-in, an undone task, an appliance that does not answer", async () => {
  await visit("/hosts/nobody/burn-in", "No burn-in yet");
  await visit("/hosts/silent/burn-in", "the store is busy; trying again");
  await visit("/hosts/inconclusive/burn-in", "Inconclusive", "the drive left the bus and did not come back within 30 s", "not done in");
});

test("the fleet by model names its outliers", async () => {
  const text = await visit("/models", "ACME FlashRack 7450 3.84TB", "random-read-rate, in stage storage", "72 devices: least 406,000 operations/s");
  assert.ok(text.includes("drive S7417N0001 in SCF4820017: 406,000 operations/s, 5"), text);
  const [label] = await all("svg .out", "one.closest('svg').getAttribute('aria-label')");
  assert.match(label, /^random-read-rate of 72 devices: .*outliers: drive S7417N0001 in SCF4820017 at 406,000 operations\/s$/);
  assert.deepEqual(await all(".measure ul a", "one.getAttribute('href')"), ["/hosts/h-000000000011/burn-in"]);
  await keepPictures("models");
  await page.evaluate("{ const field = document.getElementById('filter'); field.value = 'memory'; field.dispatchEvent(new Event('input')); }");
  assert.deepEqual(await all(".model h2", "one.textContent"), ["Forgemaker FM-2224"]);
});

test("the acceptance report fits on paper and has all that a signature stands for", async () => {
  for (const name of ["pass", "fail"]) {
    const view = server.story(name);
    const text = await visit(`/hosts/${name}/burn-in/report`, "Acceptance report", "SCF4820017", "Signature");
    for (const words of [view.profile_digest, view.stream.sha256, `${view.stream.lines} lines`, "2 × AMD EPYC 9254 24-Core Processor, 24 cores, 48 threads",
      "24 × 32 GiB Memorex M321R4GA3BB6", "S7450N0001, S7450N0002", `came to: ${name === "pass" ? "Passed" : "Failed"}`, `scalerforge burn-in judge ${name}.jsonl`, "hard rule: a correct part makes no such error"]) assert.ok(text.includes(words), words);
    for (const line of [...view.verdict.reasons, ...view.verdict.coverage]) assert.ok(text.includes(line), line);
    await page.call("Emulation.setEmulatedMedia", { media: "print" });
    await keepPicture(`report-${name}-print`);
    const { data } = await page.call("Page.printToPDF", { preferCSSPageSize: true, printBackground: true });
    const pdf = Buffer.from(data, "base64");
    if (process.env.UI_PICTURES) writeFileSync(`${process.env.UI_PICTURES}/report-${name}.pdf`, pdf);
    const pages = pdf.toString("latin1").match(/\/Type \/Page\b/g).length;
    assert.ok(pages >= 2 && pages <= 9, `${pages} pages`);
    await page.call("Emulation.setEmulatedMedia", { media: "" });
    await fits();
  }
  await keepPictures("report-fail");
});

test("the stake says what is lost when, in words, and an alert is read once", async () => {
  const view = stake();
  const text = await visit("/stake", "An anomaly of berlin-SCF4820018", "2 nodes, 2 to know", "development chain 777077, read to block 4711");
  for (const words of ["5 h 29 min", "costs 570 ICNT at once", "4800 ICNT of 4800 ICNT wanted", "3 of 50", "180 ICNT of 5000 ICNT", "840 ICNT", "SCF4820021: 60 ICNT, 20 ICNT missing"]) await waitFor(words);
  // The gravest node comes first, and what it calls itself is text.
  const names = await all("#nodes h3", "one.textContent");
  assert.ok(names[0].startsWith(view.nodes[1].name) && names[1].startsWith(view.nodes[0].name), names.join());
  assert.equal((await all("img", "1")).length, 0);
  // What runs out is a bar with a name, a share and words; it goes on by itself.
  const bars = await all("#nodes [role=progressbar]", "[one.getAttribute('aria-label'), Number(one.getAttribute('aria-valuenow'))]");
  assert.deepEqual(bars[0], ["To restore without cost", 77]);
  const seconds = () => page.evaluate("document.querySelector('#alerts .soft').textContent");
  const before = await seconds();
  assert.match(before, /left$/);
  // The cost sheet says what each amount follows from.
  await page.evaluate("document.querySelector('#costs details').open = true");
  await waitFor("2 x 100 ICNT x market factor 1 x 30 %");
  await keepPictures("stake");
  assert.equal(await page.evaluate("document.querySelector('#costs details').open"), true, text);
  // He reads the urgent one: it goes, and the appliance knows.
  await page.evaluate("document.querySelector('#alerts button').click()");
  await waitFor("2 nodes, 1 to know");
  assert.deepEqual(server.acknowledged, [view.alerts[0].id]);
  // Restored: the next picture says so, and what he had opened stays open.
  const whole = { ...view.nodes[1], status: "active", words: "Active: its collateral is whole and it can be booked.", countdowns: view.nodes[1].countdowns.slice(1) };
  server.tell({ ...view, alerts: [], nodes: [view.nodes[0], whole], trouble: "the chain at http://127.0.0.1:1 is not usable" });
  await waitFor("Nothing. Every node is as it should be", "this may be old: the chain at http://127.0.0.1:1 is not usable");
  assert.equal(await page.evaluate("document.querySelector('#costs details').open"), true);
  assert.equal((await all("#nodes [role=progressbar]", "1")).length, 2);
});

test("a what-if sends the numbers that stand in the form, and shows the core's answer", async () => {
  const put = (id, text) => page.evaluate(`(() => { const one = document.getElementById(${JSON.stringify(id)}); one.value = ${JSON.stringify(text)}; one.dispatchEvent(new Event("change")); })()`);
  const reckon = () => page.evaluate("document.querySelector('#if-form button').click()");
  const { numbers, view } = whatIf();
  await visit("/stake", "Try another price, duration, collateral or passport");
  assert.equal(await page.evaluate("document.querySelector('#if-form')"), null);
  await page.evaluate("document.querySelector('#what-if').open = true");
  await waitFor("Owner's share, thousandths");
  assert.deepEqual(await all("#if-machine option", "one.textContent"), ["none: by the numbers below", "SCF<b>4820018: storage-nvme, 42"]);
  // As they came, they are what is asked.
  await reckon();
  await waitFor("Costs are paid by", view.prices[0].costs.slice(0, 9), view.required.node, view.cover.at(-1).day, view.exposure[0].own);
  assert.deepEqual(server.asked[0].numbers, numbers);
  assert.deepEqual([server.asked[0].prices, server.asked[0].commitment_days, server.asked[0].class], [["0.02"], [1080], undefined]);
  assert.equal((await all("#if-answer td span[title]", "one.title"))[0], view.prices[0].costs);
  const limits = await all("#if-answer li", "one.textContent");
  assert.equal(limits.length, view.limits.length);
  assert.ok(limits[0].includes("too early"));
  // A passport that the owner holds fills the fields for one.
  await put("if-passport", "7");
  assert.deepEqual(await page.evaluate("['value_icnt', 'decay_days', 'staked'].map((key) => document.getElementById(`if-passport-${key}`).value)"), ["50", "1440", "2026-11-22"]);
  // Two prices, three lengths, no passport, a machine of this site.
  await put("if-offer-price_per_unit_and_day_icnt", "0.01, 0.02");
  await put("if-offer-commitment_days", "1080 1260;1440");
  await put("if-passport-value_icnt", "0");
  await put("if-node-from", "");
  await put("if-machine", "SCF<b>4820018");
  assert.deepEqual(await all("#if-form input:disabled", "one.id"), ["if-collateral-node_part_icnt", "if-collateral-network_part_icnt"]);
  await reckon();
  await waitFor("Costs are paid by");
  const end = Date.now() + TEXT_MILLISECONDS_MAX;
  while (server.asked.length < 2 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
  const second = server.asked[1];
  assert.deepEqual([second.prices, second.commitment_days, second.class], [["0.01", "0.02"], [1080, 1260, 1440], "storage-nvme"]);
  assert.deepEqual([second.numbers.passport, second.numbers.node.from, second.numbers.node.capacity], [null, null, 42]);
  await keepPictures("what-if");
  // What cannot be reckoned is said, and what is no number is not sent.
  await put("if-node-capacity", "0");
  await reckon();
  await waitFor("nothing can be reckoned: the capacity is 0");
  await put("if-node-capacity", "4.5");
  await reckon();
  await waitFor("Capacity, in the class's own measure: 4.5 is no whole number");
  assert.equal(server.asked.length, 3);
});

test("the first run asks for the code, shows what will happen, and makes nothing that was not agreed to", async () => {
  const put = (selector, text) => page.evaluate(`(() => { const one = document.querySelector(${JSON.stringify(selector)}); one.value = ${JSON.stringify(text)}; one.dispatchEvent(new Event("change")); })()`);
  const push = (selector) => page.evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`);
  await visit("/first-run", "The code on the machine's own screen");
  await put("#code", "aaaa-aaaa");
  await push("#door button");
  await waitFor("this is not the code on the machine's own screen");
  // Scanned, the code stands in the address, and not in the history.
  await page.call("Page.navigate", { url: "about:blank" });
  await visit("/first-run#k7qx-29fd", "1 answer is missing or wrong", "has no answer, and nothing can be proposed; write a name");
  assert.equal(await page.evaluate("location.hash"), "");
  assert.deepEqual(await all("#fields input", "[one.placeholder, one.hasAttribute('aria-invalid')]"), [["needed", true], ["proxy", false]]);
  assert.deepEqual(await all("#make button", "one.disabled"), [true]);
  await put("#answer-site\\.name", "rack-7");
  const text = await waitFor("The site is called rack-7", "this machine has no TPM");
  assert.ok(text.includes("<b>now</b>"), "what is said is text");
  await keepPictures("first-run");
  await put("#answer-lan\\.mode", "full");
  await waitFor("10.0.0.3 gives addresses on eth0; write `proxy`");
  assert.deepEqual(await all("#make button", "one.disabled"), [true]);
  await put("#answer-lan\\.mode", "");
  await waitFor("The site is called rack-7");
  await put("#password", "short");
  await push("#make button");
  await waitFor("take one of 12 to 256");
  await put("#password", "");
  await push("#make button");
  await waitFor("The site is made", "abcd-efgh-jkmn-pqrs", "https://10.0.0.9/", "shown this once");
});
