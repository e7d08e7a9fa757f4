// Evidence, policy and time in; verdict out.  Reads no clock, no file, no network and draws no random bytes; hashing
// and signatures are WebCrypto's, handed in, so that browsers and Node run the same code.

import { checkAttachments } from "./attachments.js";
import { checkBindings, hearBindings } from "./binding.js";
import { checkBoard } from "./board.js";
import { checkLog, checkReference, readLog } from "./boot.js";
import { toHex, type Bytes } from "./bytes.js";
import { checkEndorsement } from "./endorsement.js";
import type { Evidence } from "./evidence.js";
import { checkBlock, checkFreshness, checkPublished } from "./freshness.js";
import type { Policy } from "./policy.js";
import { checkQuote } from "./quote.js";
import { digest } from "./tpm.js";
import { trustVector } from "./trust.js";
import { Checks, type Check, type Facts, type Tier, type Verdict } from "./verdict.js";

/** Verifies evidence at a time in seconds since 1970.  Never throws on the evidence's account: every objection is a check. */
export async function verify(subtle: SubtleCrypto, evidence: Evidence, policy: Policy, now: number): Promise<Verdict> {
  const facts = emptyFacts(evidence);
  const groups: Checks[] = [];
  // Begun before anything is waited for: the engine's threads hash and judge signatures while this one reads the log.
  const hash = digest(subtle, "SHA-256", evidence.file);
  const software = await judge({ subtle, evidence, hash, policy, now, facts, group: () => groups[groups.push(new Checks()) - 1] as Checks });
  facts.evidence = toHex(await hash);
  const checks = (await Promise.all(groups.map((group) => group.settled()))).flat();
  const [tier, why_not_higher] = grade(checks, policy, facts, software === true);
  return { checks, tier, why_not_higher, trust: trustVector(checks, facts, software), facts };
}

interface Case {
  readonly subtle: SubtleCrypto;
  readonly evidence: Evidence;
  /** Of the file. */
  readonly hash: Promise<Bytes>;
  readonly policy: Policy;
  readonly now: number;
  readonly facts: Facts;
  /** A list of its own for each group of checks, in the format's order: groups are judged side by side. */
  readonly group: () => Checks;
}

/** Whether the TPM is software; nothing if no believed maker says what it is, or reading did not come that far. */
async function judge({ subtle, evidence, hash, policy, now, facts, group }: Case): Promise<boolean | undefined> {
  const logHash = digest(subtle, "SHA-256", evidence.uefiLog);
  const heard = hearBindings(subtle, evidence, policy);
  const first = group();
  const quoted = await checkQuote(subtle, evidence, first);
  if (quoted === undefined) return undefined;
  const { akName, quote, pcrs } = quoted;
  facts.ak_name = toHex(akName);
  facts.firmware = quote.firmware;
  facts.reset_count = quote.resetCount;
  for (const [pcr, value] of pcrs) facts.pcrs[pcr] = toHex(value);
  const [boot, ownership, binding] = [group(), group(), group()];
  const endorsing = checkEndorsement(subtle, evidence, policy, now, quote.firmware, facts, ownership);
  checkFreshness(evidence, quoted, policy, first);
  const before = checkBlock(evidence.statement.nonce, policy.headers, facts, first);
  const log = readLog(evidence);
  checkReference(pcrs, log, policy, facts, first);
  const [endorsed] = await Promise.all([endorsing, checkLog(subtle, evidence, logHash, log, pcrs, facts, boot)]);
  if (endorsed === undefined) return undefined;
  const [board, attachments] = [group(), group()];
  const [challengers, named] = await Promise.all([
    checkBindings(heard, evidence, akName, endorsed, policy, now, binding),
    checkBoard(subtle, evidence, akName, policy, now, board),
    checkAttachments(subtle, evidence, attachments),
  ]);
  facts.challengers = challengers;
  if (named !== undefined) facts.board = named;
  checkPublished(evidence, await hash, before, policy, facts, group());
  return endorsed.software;
}

function emptyFacts(evidence: Evidence): Facts {
  return {
    evidence: "",
    node: toHex(evidence.nodeId),
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

function grade(checks: readonly Check[], policy: Policy, facts: Facts, software: boolean): [Tier, string] {
  const failed = checks.find((check) => check.outcome === "fail");
  if (failed !== undefined) return ["T0", `${failed.name}: ${failed.note}`];
  if (software) return ["T0", "software TPM: whoever runs it can sign anything"];
  if (policy.references.length === 0) return ["T1", "no reference values: nobody judged the image"];
  const needed = Math.max(2, policy.k);
  if (facts.challengers < needed) return ["T1", `bound by ${facts.challengers} known challengers; ${needed} are needed`];
  if (facts.board === undefined) return ["T2", "nothing ties this TPM to this board: no maker's IAK vouches for it"];
  return ["T3", "no key that is off the TPM's bus vouches for the same statement"];
}
