// The answer: named checks, what they measured and should have measured, and what the whole may claim.

import type { TrustVector } from "./trust.js";

export type Outcome = "pass" | "fail" | "not-applicable";

export interface Check {
  readonly name: string;
  readonly outcome: Outcome;
  readonly measured: string;
  readonly expected: string;
  readonly note: string;
}

export type Tier = "T0" | "T1" | "T2" | "T3";

/** What the evidence says, as far as it could be read.  Names are those of the JSON verdict. */
export interface Facts {
  evidence: string;
  node: string;
  purpose: string;
  ak_name: string | null;
  ek_name: string | null;
  ek_certificate: string | null;
  /** The board as its maker's certificate names it; left out where nothing is proven about it. */
  board?: string;
  tpm: string | null;
  firmware: bigint | null;
  reset_count: number | null;
  image: string | null;
  /** Boot options that firmware tried in vain before that image; left out where there were none. */
  tried_in_vain?: number;
  secure_boot: boolean | null;
  boot_url: string | null;
  /** The quote is younger than this block's time, seconds since 1970; left out where no header says so. */
  not_before?: bigint;
  /** The quote is older than the block it was published in: that block's time, and its hash. */
  not_after?: bigint;
  published_block?: string;
  pcrs: Record<string, string>;
  challengers: number;
}

export interface Verdict {
  readonly checks: readonly Check[];
  readonly tier: Tier;
  readonly why_not_higher: string;
  /** The same, claim by claim. */
  readonly trust: TrustVector;
  readonly facts: Facts;
}

/** Collects checks in the order they are made.  Those that wait for a signature keep their place. */
export class Checks {
  private readonly list: (Check | Promise<Check>)[] = [];

  /** All of them, once the last signature is judged. */
  settled(): Promise<Check[]> {
    return Promise.all(this.list);
  }

  /** A check whose outcome is still being worked on. */
  later(check: Promise<Check>): void {
    // Whoever collects the list hears of a failure; until then it is nobody's surprise.
    check.catch(() => undefined);
    this.list.push(check);
  }

  /** Adds a check; `note` is kept if it fails.  Returns `holds`. */
  add(name: string, holds: boolean, measured: string, expected: string, note: string): boolean {
    this.list.push({ name, outcome: holds ? "pass" : "fail", measured, expected, note: holds ? "" : note });
    return holds;
  }

  pass(name: string, measured: string, note = ""): void {
    this.list.push({ name, outcome: "pass", measured, expected: "", note });
  }

  /** Passed, with what was measured, what it had to be, and a remark. */
  remark(name: string, measured: string, expected: string, note: string): void {
    this.list.push({ name, outcome: "pass", measured, expected, note });
  }

  fail(name: string, measured: string, note: string): void {
    this.list.push({ name, outcome: "fail", measured, expected: "", note });
  }

  skip(name: string, note: string): void {
    this.list.push({ name, outcome: "not-applicable", measured: "", expected: "", note });
  }
}

export function firstFailure(verdict: Verdict): Check | undefined {
  return verdict.checks.find((check) => check.outcome === "fail");
}

/** Evidence is accepted if no check fails. */
export function isAccepted(verdict: Verdict): boolean {
  return firstFailure(verdict) === undefined;
}

/** The verdict as JSON.  Counters of 64 bits are written as numbers, which `JSON.stringify` alone cannot. */
export function verdictJson(verdict: Verdict): string {
  const text = JSON.stringify(verdict, (_, value: unknown) => (typeof value === "bigint" ? `bigint:${value}` : value), 2);
  return text.replace(/"bigint:(-?\d+)"/g, "$1");
}
