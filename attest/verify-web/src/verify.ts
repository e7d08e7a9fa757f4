// Evidence, policy and time in; verdict out.  Reads no clock, no file, no network and draws no random bytes; hashing
// and signatures are WebCrypto's, handed in, so that browsers and Node run the same code.

import { checkAttachments } from "./attachments.js";
import { checkBindings } from "./binding.js";
import { checkBoard } from "./board.js";
import { checkLog, checkReference } from "./boot.js";
import { toHex } from "./bytes.js";
import { checkEndorsement } from "./endorsement.js";
import type { Evidence } from "./evidence.js";
import { checkBlock, checkFreshness } from "./freshness.js";
import type { Policy } from "./policy.js";
import { checkQuote } from "./quote.js";
import { digest } from "./tpm.js";
import { Checks, type Facts, type Tier, type Verdict } from "./verdict.js";

/** Verifies evidence at a time in seconds since 1970.  Never throws on the evidence's account: every objection is a check. */
export async function verify(subtle: SubtleCrypto, evidence: Evidence, policy: Policy, now: number): Promise<Verdict> {
  const checks = new Checks();
  const facts = await emptyFacts(subtle, evidence);
  const quoted = await checkQuote(subtle, evidence, checks);
  facts.ak_name = quoted.akName ? toHex(quoted.akName) : null;
  facts.firmware = quoted.quote?.firmware ?? null;
  facts.reset_count = quoted.quote?.resetCount ?? null;
  for (const [pcr, value] of quoted.pcrs ?? []) facts.pcrs[pcr] = toHex(value);
  checkFreshness(evidence, quoted, policy, checks);
  const notBefore = checkBlock(evidence.statement.nonce, policy.headers, checks);
  if (notBefore !== undefined) facts.not_before = notBefore;
  if (quoted.pcrs !== undefined) checkReference(quoted.pcrs, policy, facts, checks);
  await checkLog(subtle, evidence, quoted.pcrs, facts, checks);
  const endorsed = await checkEndorsement(subtle, evidence, policy, now, quoted.quote?.firmware, facts, checks);
  facts.challengers = await checkBindings(subtle, evidence, quoted.akName, endorsed, policy, now, checks);
  const board = await checkBoard(subtle, evidence, quoted.akName, policy, now, checks);
  if (board !== undefined) facts.board = board;
  await checkAttachments(subtle, evidence, checks);
  const [tier, why_not_higher] = grade(checks, policy, facts, endorsed.software);
  return { checks: checks.list, tier, why_not_higher, facts };
}

async function emptyFacts(subtle: SubtleCrypto, evidence: Evidence): Promise<Facts> {
  return {
    evidence: toHex(await digest(subtle, "SHA-256", evidence.file)),
    node: toHex(evidence.statement.nodeId),
    purpose: evidence.statement.purpose,
    ak_name: null,
    ek_name: null,
    ek_certificate: null,
    tpm: null,
    firmware: null,
    reset_count: null,
    image: null,
    secure_boot: null,
    boot_url: null,
    pcrs: {},
    challengers: 0,
  };
}

function grade(checks: Checks, policy: Policy, facts: Facts, software: boolean): [Tier, string] {
  const failed = checks.list.find((check) => check.outcome === "fail");
  if (failed !== undefined) return ["T0", `${failed.name}: ${failed.note}`];
  if (software) return ["T0", "software TPM: whoever runs it can sign anything"];
  if (policy.references.length === 0) return ["T1", "no reference values: nobody judged the image"];
  const needed = Math.max(2, policy.k);
  if (facts.challengers < needed) return ["T1", `bound by ${facts.challengers} known challengers; ${needed} are needed`];
  if (facts.board === undefined) return ["T2", "nothing ties this TPM to this board: no maker's IAK vouches for it"];
  return ["T3", "no key that is off the TPM's bus vouches for the same statement"];
}
