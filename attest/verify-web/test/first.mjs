// The Rust verifier, asked through pipes: one process for a whole campaign (`attest/verify-cli/examples/second.rs`).

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import * as verifier from "../dist/index.js";
import { policyOf, subtle } from "./vectors.mjs";

/** Where `cargo build -p attest-verify-cli --example second` puts it. */
export const program = process.env.ATTEST_SECOND ?? new URL("../../../target/debug/examples/second", import.meta.url).pathname;

export class First {
  #child;
  #waiting = [];
  #failed;

  constructor() {
    this.#child = spawn(program, ["answers"], { stdio: ["pipe", "pipe", "inherit"] });
    const fail = (error) => {
      this.#failed = error;
      for (const { reject } of this.#waiting.splice(0)) reject(error);
    };
    this.#child.once("error", fail);
    this.#child.once("exit", (code) => fail(new Error(`the first verifier ended with ${code}`)));
    this.#child.stdin.on("error", fail);
    createInterface({ input: this.#child.stdout }).on("line", (line) => this.#waiting.shift()?.resolve(JSON.parse(line)));
  }

  /** Its answer to a file under the policy of vector `index`. */
  async ask(index, bytes) {
    if (this.#failed) throw this.#failed;
    const head = Buffer.alloc(8);
    head.writeUInt32LE(index, 0);
    head.writeUInt32LE(bytes.length, 4);
    const answer = new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
    this.#child.stdin.write(head);
    if (!this.#child.stdin.write(bytes)) await Promise.race([once(this.#child.stdin, "drain"), answer]);
    return answer;
  }

  async close() {
    const gone = this.#child.exitCode === null && !this.#failed ? once(this.#child, "exit") : undefined;
    this.#child.stdin.end();
    await gone;
  }
}

const policies = new Map();

/** This verifier's answer, in the same form. */
export async function second(vector, bytes) {
  let policy = policies.get(vector.name);
  if (policy === undefined) policies.set(vector.name, (policy = await policyOf(vector)));
  let evidence;
  try {
    evidence = verifier.decodeEvidence(bytes);
  } catch (error) {
    if (!(error instanceof verifier.FormatError)) throw error;
    return "file";
  }
  const verdict = await verifier.verify(subtle, evidence, policy, vector.policy.now);
  const { checks, tier, trust, facts } = JSON.parse(verifier.verdictJson(verdict));
  return { checks: checks.map(({ name, outcome }) => [name, outcome]), tier, trust, facts };
}

const firstFailure = (answer) => (answer === "file" ? "file" : (answer.checks.find(([, outcome]) => outcome === "fail")?.[0] ?? "accepted"));

/** What is told apart: a file, accepted, or the first check that fails. */
export const verdictOf = firstFailure;

const judged = (answer) => answer.checks.filter(([, outcome]) => outcome !== "not-applicable").map((check) => check.join(":"));

/** In what the two answers differ, or nothing. */
export function difference(rust, here) {
  const [theirs, ours] = [rust, here].map(firstFailure);
  if (theirs !== ours) return `verdict: first ${theirs}, second ${ours}`;
  if (rust === "file") return undefined;
  // Of a refused file, one may report a check that holds where the other does not come to it.
  const told = (answer) => judged(answer).filter((check) => ours === "accepted" || !check.endsWith(":pass"));
  const [a, b] = [told(rust), told(here)];
  if (a.join() !== b.join()) return `checks: first only [${a.filter((x) => !b.includes(x))}], second only [${b.filter((x) => !a.includes(x))}]`;
  if (rust.tier !== here.tier) return `tier: ${rust.tier}, ${here.tier}`;
  for (const part of ["trust", "facts"]) {
    for (const name of new Set([...Object.keys(rust[part]), ...Object.keys(here[part])])) {
      if (JSON.stringify(rust[part][name]) !== JSON.stringify(here[part][name])) return `${part}.${name}`;
    }
  }
  return undefined;
}
