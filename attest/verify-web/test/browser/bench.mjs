// `npm run bench [DIR…]`: how long the built page takes in Chromium, from bytes to verdict.  Measures and judges nothing.
//
// *First at once*: a browser just started, the file given in the moment the page is there, while browser and page still start.
// *First*: the same two seconds later, as nobody's hand is faster.  *Median*: of the same file given again and again.
// DIR is what `second forge LOG DIR` wrote (attest/verify-cli/examples/second.rs): a quote over a real machine's log, a chain
// of two CAs, two bindings.  Without one, the virtual rack's registration of the vectors.

import { readFileSync } from "node:fs";
import { loadavg } from "node:os";
import { argv } from "node:process";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { folder, vectors } from "../vectors.mjs";
import { open } from "./chromium.mjs";

const PAGE = pathToFileURL(fileURLToPath(new URL("../../dist/index.html", import.meta.url))).href;
const BROWSERS = 9;
const PAUSE_MILLISECONDS = 2000;
const REPEATS = 40;

const VERDICT = `new Promise((resolve) => {
  const look = () => {
    const box = document.getElementById("verdict");
    const word = document.getElementById("verdict-word").textContent;
    if (box.hidden || word === "") return setTimeout(look, 5);
    document.getElementById("verdict-word").textContent = "";
    resolve({ word, milliseconds: Number(box.dataset.milliseconds), failed: box.dataset.failed });
  };
  look();
})`;

function caseOf(path) {
  const { challengers, k, events } = JSON.parse(readFileSync(join(path, "policy.json"), "utf8"));
  const at = (name) => join(path, name);
  return { name: path, events, challengers, k, software: false, evidence: at("bench.evidence"), roots: [at("root.pem")], references: [at("reference.json")] };
}

function rack() {
  const { file, policy } = vectors.find((one) => one.name === "rack-registration");
  const paths = (files) => files.map((path) => folder + path);
  return { name: file, challengers: policy.challengers, k: policy.k, software: true, evidence: folder + file, roots: paths(policy.roots), references: paths(policy.reference) };
}

async function measure(one, pause) {
  const page = await open(PAGE);
  try {
    await page.evaluate(`document.getElementById("challengers").value = ${JSON.stringify(one.challengers.join("\n"))};
      document.getElementById("k").value = ${one.k}; document.getElementById("software").checked = ${one.software};`);
    await page.give("#roots-files", one.roots);
    await page.give("#reference-files", one.references);
    await new Promise((resolve) => setTimeout(resolve, pause));
    const times = [];
    for (let turn = 0; turn <= REPEATS; turn++) {
      await page.give("#evidence-file", [one.evidence]);
      const verdict = await page.evaluate(VERDICT);
      if (verdict.word !== "Accepted") throw new Error(`${one.name}: ${verdict.word} ${verdict.failed}`);
      times.push(verdict.milliseconds);
    }
    return { first: times[0], median: middle(times.slice(1)) };
  } finally {
    await page.close();
  }
}

const middle = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1];
const list = (numbers) => numbers.map((number) => number.toFixed(1)).join(" ");

for (const one of argv.length > 2 ? argv.slice(2).map(caseOf) : [rack()]) {
  const runs = { "first at once": [], first: [] };
  for (let turn = 0; turn < BROWSERS; turn++) {
    runs["first at once"].push(await measure(one, 0));
    runs.first.push(await measure(one, PAUSE_MILLISECONDS));
  }
  console.log(`${one.name}${one.events ? ` (${one.events} events)` : ""}, milliseconds in ${2 * BROWSERS} browsers, load ${loadavg()[0].toFixed(2)}`);
  for (const [name, all] of Object.entries(runs)) {
    const firsts = all.map(({ first }) => first);
    console.log(`  ${name}: middle ${middle(firsts).toFixed(1)} of ${list(firsts)}; median ${middle(all.map(({ median }) => median)).toFixed(1)}`);
  }
}
