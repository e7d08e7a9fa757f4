// Both verifiers on the same files: same checks, same outcomes, same tier, same trust, same facts; and altered files in
// passing.  Needs `cargo build -p attest-verify-cli --example second` (or ATTEST_SECOND, its path) and says so if it was skipped.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { difference, First, program, second, verdictOf } from "./first.mjs";
import { folder, read, unknownMembers, vectors } from "./vectors.mjs";

const cli = fileURLToPath(new URL("../dist/cli.js", import.meta.url));
const skip = existsSync(program) ? false : `${program} is not built`;

test("the first verifier says the same of every vector", { skip }, async () => {
  const first = new First();
  try {
    for (const [index, vector] of vectors.entries()) {
      if (unknownMembers(vector).length > 0) continue;
      const bytes = read(vector.file);
      const [rust, here] = await Promise.all([first.ask(index, bytes), second(vector, bytes)]);
      assert.equal(difference(rust, here), undefined, vector.name);
      assert.equal(verdictOf(here), vector.expected, vector.name);
    }
  } finally {
    await first.close();
  }
});

const bin = process.env.SCALERFORGE_BIN;

function run(program, args) {
  const { status, stdout, error } = spawnSync(program, args, { encoding: "utf8", maxBuffer: 1 << 24 });
  if (error) throw error;
  return { status, verdict: status === 2 ? undefined : JSON.parse(stdout) };
}

/** What both command lines take. */
function argumentsOf({ file, policy }, roots) {
  const args = [folder + file, "--json", "--roots", roots, "--challengers-min", String(policy.k)];
  for (const reference of policy.reference) args.push("--reference", folder + reference);
  for (const key of policy.challengers) args.push("--challenger", key);
  if (policy.allow_software_tpm) args.push("--allow-software-tpm");
  return args;
}

/** Starting a program takes longer than verifying: these few go through both command lines. */
const COMMAND_LINES = ["rack-registration", "rack-registration-strict", "good-registration", "file-bomb"];

for (const name of COMMAND_LINES) {
  test(`both command lines: ${name}`, { skip: bin ? false : "SCALERFORGE_BIN is not set" }, () => {
    const vector = vectors.find((one) => one.name === name);
    const roots = mkdtempSync(join(tmpdir(), "verify-web-roots-"));
    try {
      vector.policy.roots.forEach((path, at) => cpSync(folder + path, join(roots, `${at}.pem`)));
      const args = argumentsOf(vector, roots);
      const rust = run(bin, ["evidence", "verify", ...args]);
      const here = run(process.execPath, [cli, ...args]);
      assert.equal(here.status, rust.status);
      if (rust.verdict === undefined) return;
      const short = ({ checks, ...rest }) => ({ checks: checks.map((check) => [check.name, check.outcome]), ...rest });
      assert.equal(difference(short(rust.verdict), short(here.verdict)), undefined);
    } finally {
      rmSync(roots, { recursive: true, force: true });
    }
  });
}
