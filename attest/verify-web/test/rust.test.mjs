// Both verifiers on the same files: same checks, same outcomes, same tier, same facts.  Needs SCALERFORGE_BIN, the
// path of the `scalerforge` program; without it this test says that it was skipped.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { verdictJson } from "../dist/index.js";
import { folder, judge, vectors } from "./vectors.mjs";

const bin = process.env.SCALERFORGE_BIN;
const cli = fileURLToPath(new URL("../dist/cli.js", import.meta.url));

function run(program, args) {
  const { status, stdout, error } = spawnSync(program, args, { encoding: "utf8", maxBuffer: 1 << 24 });
  if (error) throw error;
  return { status, verdict: status === 2 ? undefined : JSON.parse(stdout) };
}

/** What only some command line takes (a nonce object, the last evidence seen, boards, revocation lists) is judged by the vectors' own test. */
function argumentsOf({ file, policy }, roots) {
  const args = [folder + file, "--json", "--roots", roots, "--challengers-min", String(policy.k)];
  for (const reference of policy.reference) args.push("--reference", folder + reference);
  for (const key of policy.challengers) args.push("--challenger", key);
  if (policy.allow_software_tpm) args.push("--allow-software-tpm");
  return args;
}

/** Starting a program takes longer than verifying: these few go through this verifier's own command line. */
const COMMAND_LINES = new Set(["rack-registration", "rack-registration-strict", "good-registration", "file-bomb"]);

/** This verifier without a process of its own, asked what the command line would ask. */
async function inProcess(vector) {
  const asked = { ...vector, policy: { ...vector.policy, nonce: null, last_seen: null, boards: [], crls: [], headers: [], denied_firmware: [], now: Math.floor(Date.now() / 1000) } };
  if (asked.policy.challengers.length === 0) asked.policy.k = 0;
  const { verdict } = await judge(asked);
  return verdict && JSON.parse(verdictJson(verdict));
}

/** Checks by name: the first outcome of each, those without anything to judge left out. */
function outcomes(verdict) {
  const judged = verdict.checks.filter((check) => check.outcome !== "not-applicable");
  return new Map(judged.map((check) => [check.name, check.outcome]));
}

const firstFailure = (verdict) => verdict.checks.find((check) => check.outcome === "fail")?.name;

for (const vector of vectors) {
  test(`both verifiers: ${vector.name}`, { skip: bin ? false : "SCALERFORGE_BIN is not set" }, async () => {
    const roots = mkdtempSync(join(tmpdir(), "verify-web-roots-"));
    try {
      vector.policy.roots.forEach((path, at) => cpSync(folder + path, join(roots, `${at}.pem`)));
      const args = argumentsOf(vector, roots);
      const rust = run(bin, ["evidence", "verify", ...args]);
      const here = await inProcess(vector);
      assert.equal(here === undefined, rust.verdict === undefined);
      if (here !== undefined) compare(here, rust.verdict);
      if (!COMMAND_LINES.has(vector.name)) return;
      const command = run(process.execPath, [cli, ...args]);
      assert.equal(command.status, rust.status);
      if (here !== undefined) compare(command.verdict, rust.verdict);
    } finally {
      rmSync(roots, { recursive: true, force: true });
    }
  });
}

function compare(here, rust) {
  assert.equal(firstFailure(here), firstFailure(rust));
  assert.equal(here.tier, rust.tier);
  const [ours, theirs] = [outcomes(here), outcomes(rust)];
  if (firstFailure(rust) !== undefined) {
    // After a failure a verifier may go on or not; where both do, they agree.
    for (const [name, outcome] of theirs) assert.equal(ours.get(name) ?? outcome, outcome, name);
    return;
  }
  assert.deepEqual([...ours], [...theirs]);
  assert.deepEqual(here.facts, rust.facts);
}
