// What was booted: the image by its reference values, the rest by the firmware's log.

import { equal, FormatError, isZero, toHex, type Bytes } from "./bytes.js";
import type { Evidence } from "./evidence.js";
import { badSeparators, bootUrl, parseEventLog, replay, straightBoot, type EventLog, type StraightBoot } from "./eventlog.js";
import type { Policy, Reference } from "./policy.js";
import { failOn, zeroBootPcrs } from "./quote.js";
import { secureBoot } from "./secureboot.js";
import { ALG } from "./tpm.js";
import type { Checks, Facts } from "./verdict.js";

type Pcrs = ReadonlyMap<number, Bytes>;

/** PCRs that the log must explain, or that nothing was measured into. */
const LATE_PCRS = [9, 11, 12, 13, 14];

/** The firmware's log, and what it leads to. */
export interface BootLog {
  readonly log: EventLog;
  readonly replayed: Pcrs;
}

/** Reads the log; an objection to it is kept for the check that it fails. */
export function readLog(evidence: Evidence): BootLog | FormatError {
  try {
    const log = parseEventLog(evidence.uefiLog);
    if (!log.banks.includes(ALG.sha256)) throw new FormatError("uefi[0]", 0, "no SHA-256 digests: this log proves nothing");
    return { log, replayed: replay(log) };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return error;
  }
}

/** Boot options that were tried in vain, if the log leads to the PCR 4 that was signed. */
function tried(boot: BootLog | FormatError, pcrs: Pcrs): StraightBoot | undefined {
  if (boot instanceof FormatError) return undefined;
  const [signed, replayed] = [pcrs.get(4), boot.replayed.get(4)];
  return signed !== undefined && replayed !== undefined && equal(signed, replayed) ? straightBoot(boot.log) : undefined;
}

export function checkReference(pcrs: Pcrs, boot: BootLog | FormatError, policy: Policy, facts: Facts, checks: Checks): void {
  const straight = tried(boot, pcrs);
  const plain = (pcr: number, accepted: readonly string[]): boolean => accepted.includes(toHex(pcrs.get(pcr) ?? new Uint8Array()));
  const inVain = (pcr: number, accepted: readonly string[]): boolean =>
    pcr === 4 && straight !== undefined && !plain(pcr, accepted) && accepted.includes(toHex(straight.pcr4));
  const matches = (reference: Reference): number =>
    [...reference.pcrs].filter(([pcr, accepted]) => plain(pcr, accepted) || inVain(pcr, accepted)).length;
  let best: Reference | undefined;
  for (const reference of policy.references) {
    if (best === undefined || matches(reference) > matches(best)) best = reference;
  }
  if (best === undefined) {
    checks.skip("reference", "no reference values are known here: the image is not judged");
    return;
  }
  const whole = [4, 11].every((pcr) => (best.pcrs.get(pcr)?.length ?? 0) > 0);
  checks.add("reference", whole, best.name, "values for PCR 4 and PCR 11", "these reference values leave the image open");
  if (!whole) return;
  let all = true;
  for (const [pcr, accepted] of best.pcrs) {
    const value = pcrs.get(pcr);
    const measured = value ? toHex(value) : "not quoted";
    const [name, expected] = [`pcr-${pcr}`, accepted.join(" or ")];
    if (straight !== undefined && inVain(pcr, accepted)) {
      facts.tried_in_vain = straight.inVain;
      checks.remark(name, measured, expected, `boot options tried in vain before this image: ${straight.inVain}; nothing ran from them`);
      continue;
    }
    all = checks.add(name, accepted.includes(measured), measured, expected, "the machine did not boot this image") && all;
  }
  if (all) facts.image = best.name;
}

export async function checkLog(
  subtle: SubtleCrypto,
  evidence: Evidence,
  hashing: Promise<Bytes>,
  boot: BootLog | FormatError,
  pcrs: Pcrs,
  facts: Facts,
  checks: Checks,
): Promise<void> {
  const hash = toHex(await hashing);
  const named = toHex(evidence.statement.uefiLog);
  checks.add("log-digest", hash === named, hash, named, "the statement was made over another log");
  const zero = zeroBootPcrs(pcrs);
  checks.add("pcrs-not-zero", zero.length === 0, `[${zero.join(", ")}]`, "[]", "nothing was measured into these: they can be filled later");
  if (boot instanceof FormatError) {
    failOn(boot, "log-structure", checks);
    return;
  }
  const { log, replayed } = boot;
  checks.pass("log-structure", `${log.events.length - log.headers} events`);
  const wrong = unexplained(replayed, pcrs);
  const explained = checks.add("log-replay", wrong.length === 0, wrong.length === 0 ? "all" : `not [${wrong.join(", ")}]`, "all",
    "the log does not lead to the values that were signed");
  // Nothing in a log that the TPM did not sign for is worth reading.
  if (!explained) return;
  const separators = await badSeparators(subtle, log);
  checks.add("log-separators", separators.length === 0, `[${separators.join(", ")}]`, "[]",
    "without exactly one true separator nobody knows where firmware ends");
  const secure = await secureBoot(subtle, log);
  if ("wrong" in secure) {
    checks.fail("secure-boot-log", "", secure.wrong);
  } else {
    checks.pass("secure-boot-log", secure.on === undefined ? "not in the log" : secure.on ? "on" : "off");
    facts.secure_boot = secure.on ?? null;
  }
  facts.boot_url = bootUrl(log) ?? null;
}

/** Signed PCRs that the log does not lead to. */
function unexplained(replayed: Pcrs, pcrs: Pcrs): number[] {
  const wrong: number[] = [];
  for (const [pcr, signed] of pcrs) {
    const value = replayed.get(pcr);
    if (pcr < 8) {
      if (value === undefined || !equal(value, signed)) wrong.push(pcr);
    } else if (LATE_PCRS.includes(pcr)) {
      if (value === undefined ? !isZero(signed) : !equal(value, signed)) wrong.push(pcr);
    } else if (value !== undefined && !equal(value, signed)) {
      wrong.push(pcr);
    }
  }
  return wrong;
}
