// `npm run differential [CASES [SEED]]`: both verifiers on altered vectors.  Every class of difference is printed once, with
// how often it was seen and the first case that showed it; exit status 1 if there was any.  Same seed, same campaign.

import { writeFileSync } from "node:fs";
import { argv } from "node:process";
import { difference, First, second, verdictOf } from "./first.mjs";
import { dice, mutated, within } from "./mutate.mjs";
import { read, unknownMembers, vectors } from "./vectors.mjs";

const cases = Number(argv[2] ?? 20_000);
const seed = Number(argv[3] ?? 1);
/** Asked at the same time: enough for both processes to have work, few enough for a pipe. */
const TOGETHER = 16;

const roll = dice(seed);
const known = vectors.flatMap((vector, index) => (unknownMembers(vector).length === 0 ? [{ vector, index, file: read(vector.file) }] : []));
const first = new First();
const classes = new Map();
const verdicts = new Map();
let done = 0;

async function one() {
  while (done < cases) {
    const number = done++;
    const { vector, index, file } = known[number % known.length];
    // Every second one keeps the frame of the file whole and alters something inside: most of the rest is not even read.
    const bytes = number < known.length ? file : roll(3) === 0 ? mutated(file, roll) : within(file, roll);
    const [rust, here] = await Promise.all([first.ask(index, bytes), second(vector, bytes)]);
    const verdict = verdictOf(here);
    verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
    const what = difference(rust, here);
    if (what === undefined) continue;
    const seen = classes.get(what) ?? { count: 0, example: `${vector.name}, case ${number}`, bytes };
    classes.set(what, { ...seen, count: seen.count + 1 });
  }
}

await Promise.all(Array.from({ length: TOGETHER }, one));
await first.close();
console.log(`${cases} cases from ${known.length} vectors, seed ${seed}: ${[...verdicts].sort((a, b) => b[1] - a[1]).map((pair) => pair.join(" ")).join(", ")}`);
for (const [what, { count, example, bytes }] of [...classes].sort((a, b) => b[1].count - a[1].count)) {
  console.log(`${count} times ${what} (${example})`);
  if (process.env.DIFFERENTIAL_KEEP) writeFileSync(`${process.env.DIFFERENTIAL_KEEP}/${what.replace(/[^a-z0-9]+/gi, "-").slice(0, 80)}.evidence`, bytes);
}
console.log(classes.size === 0 ? "no difference" : `${classes.size} classes of difference`);
process.exitCode = classes.size === 0 ? 0 : 1;
