// Whether this evidence is the one asked for, and newer than the last.

import { equal, FormatError, toHex, type Bytes } from "./bytes.js";
import { bytesCbor, mapCbor, uintCbor } from "./cborwrite.js";
import type { Evidence, Nonce } from "./evidence.js";
import type { Header } from "./header.js";
import type { ExpectedNonce, LastSeen, Policy } from "./policy.js";
import { checkPublication } from "./publication.js";
import { failOn, type Quoted } from "./quote.js";
import type { Checks, Facts } from "./verdict.js";

export function checkFreshness(evidence: Evidence, quoted: Quoted, policy: Policy, checks: Checks): void {
  const { statement } = evidence;
  if (policy.nonce === undefined) {
    checks.skip("nonce", `no nonce was asked for; the statement has ${toHex(nonceCbor(statement.nonce))}`);
  } else {
    checkNonce(statement.nonce, policy.nonce, checks);
  }
  if (statement.nonce.kind === "block") {
    const { node, sequence } = statement.nonce;
    const own = equal(node, statement.nodeId) && sequence === statement.sequence;
    checks.add("nonce-is-own", own, `${toHex(node)} number ${sequence}`, `${toHex(statement.nodeId)} number ${statement.sequence}`,
      "the nonce was derived for other evidence");
  } else {
    checks.skip("nonce-is-own", "a random nonce belongs to whoever drew it");
  }
  const [measured, expected] = [statement.previous, evidence.previous].map((hash) => (hash ? toHex(hash) : "none"));
  checks.add("previous", measured === expected, measured ?? "", expected ?? "", "file and statement name different predecessors");
  if (policy.lastSeen === undefined) {
    checks.skip("sequence", "no earlier evidence of this node is known here");
    checks.skip("tpm-counters", "no earlier evidence of this node is known here");
    return;
  }
  checkSequence(evidence, policy.lastSeen, checks);
  checkCounters(quoted, policy.lastSeen, checks);
}

/** Whether a block nonce is the hash of a given header; then the quote is younger than that block. */
export function checkBlock(nonce: Nonce, headers: readonly Header[], facts: Facts, checks: Checks): Header | undefined {
  if (nonce.kind !== "block" || headers.length === 0) return undefined;
  const found = headers.find((header) => equal(header.hash, nonce.hash) && header.number === nonce.number);
  checks.add("nonce-block", found !== undefined, `block ${nonce.number}, ${toHex(nonce.hash)}`, "a block whose header is given",
    "none of the given headers is the block that the nonce names");
  if (found !== undefined) facts.not_before = found.time;
  return found;
}

/** Whether the file's hash was published in a block: then the quote is older.  `before` is the nonce's block, where it is known. */
export function checkPublished(evidence: Evidence, hash: Bytes, before: Header | undefined, policy: Policy, facts: Facts, checks: Checks): void {
  const { target, nonce } = evidence.statement;
  if (policy.publication === undefined) {
    checks.skip("published", "no publication is given: nobody shows what the quote is older than");
    return;
  }
  let after: Header;
  try {
    if (target === undefined) throw new FormatError("publication", 0, "an admission names no registry");
    after = checkPublication(policy.publication, target, evidence.nodeId, hash);
  } catch (error) {
    failOn(error, "published", checks);
    return;
  }
  checks.pass("published", `block ${after.number}, ${toHex(after.hash)}`);
  const wanted = policy.publishedBlock;
  if (wanted !== undefined) {
    const right = checks.add("published-block", equal(after.hash, wanted), toHex(after.hash), toHex(wanted),
      "this is not the block that it should be published in");
    if (!right) return;
  }
  facts.not_after = after.time;
  facts.published_block = toHex(after.hash);
  if (before === undefined) return;
  const oneChain = nonce.kind === "block" && nonce.chainId === target?.chainId;
  const follows = after.time >= before.time && (!oneChain || after.number > before.number);
  checks.add("published-after-nonce", follows, `block ${after.number}, time ${after.time}`,
    oneChain ? `above block ${before.number}, not before ${before.time}` : `not before ${before.time}`, "published before the nonce was known");
}

function checkNonce(nonce: Nonce, wanted: ExpectedNonce, checks: Checks): void {
  const whole = nonceCbor(nonce);
  const word = nonce.kind === "block" ? nonce.hash : nonce.random;
  const [measured, expected] = "cbor" in wanted ? [whole, wanted.cbor] : [word, wanted.word];
  checks.add("nonce", equal(measured, expected), toHex(measured), toHex(expected), "this evidence answers another nonce");
}

function checkSequence(evidence: Evidence, last: LastSeen, checks: Checks): void {
  const { sequence, previous } = evidence.statement;
  const follows = previous !== undefined && equal(previous, last.evidence);
  checks.add("sequence", sequence > last.sequence && follows,
    `${sequence} after ${previous ? toHex(previous) : "none"}`, `above ${last.sequence} after ${toHex(last.evidence)}`,
    "this evidence does not follow the last one seen");
}

function checkCounters(quoted: Quoted, last: LastSeen, checks: Checks): void {
  const { quote, akName, pcrs } = quoted;
  const wrong: string[] = [];
  if (!equal(akName, last.akName)) wrong.push("another attestation key");
  if (quote.firmware !== last.firmware) wrong.push("another TPM firmware");
  if (quote.resetCount < last.resetCount) wrong.push("the count of resets went back: the TPM was cleared");
  if (quote.resetCount === last.resetCount) {
    if (quote.clock <= last.clock) wrong.push("the clock did not go on");
    if (quote.restartCount < last.restartCount) wrong.push("the count of restarts went back");
    for (let pcr = 0; pcr < 8; pcr++) {
      const [now, then] = [pcrs.get(pcr), last.pcrs.get(pcr)];
      if (now === undefined || then === undefined || !equal(now, then)) {
        wrong.push(`PCR ${pcr} changed without a reboot`);
      }
    }
  }
  const show = (resets: number, clock: bigint, firmware: bigint): string => `resets ${resets}, clock ${clock}, firmware ${firmware}`;
  const measured = show(quote.resetCount, quote.clock, quote.firmware);
  if (wrong.length > 0) {
    checks.add("tpm-counters", false, measured, show(last.resetCount, last.clock, last.firmware), wrong.join("; "));
  } else {
    checks.pass("tpm-counters", measured, quote.safe ? "" : "the clock may have lost time at a power cut");
  }
}

/** The nonce object in deterministic CBOR, as it stands in its statement. */
function nonceCbor(nonce: Nonce): Bytes {
  if (nonce.kind === "verifier") return mapCbor([1, uintCbor(1)], [2, bytesCbor(nonce.random)]);
  return mapCbor([1, uintCbor(2)], [3, uintCbor(nonce.chainId)], [4, uintCbor(nonce.number)], [5, bytesCbor(nonce.hash)],
    [6, bytesCbor(nonce.node)], [7, uintCbor(nonce.sequence)]);
}
