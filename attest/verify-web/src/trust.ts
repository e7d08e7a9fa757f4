// The verdict as a trustworthiness vector (AR4SI, 2.3.2), for tools that read attestation results: claim by claim where
// accepted and refused are too few words.

import type { Check, Facts } from "./verdict.js";

/** 0 nothing is claimed, 2 affirming, 32 warning, 96 contraindicated. */
export type Claim = 0 | 2 | 32 | 96;

const NONE = 0;
const AFFIRMING = 2;
const WARNING = 32;
const CONTRAINDICATED = 96;

export interface TrustVector {
  readonly "instance-identity": Claim;
  readonly configuration: Claim;
  readonly executables: Claim;
  readonly "file-system": Claim;
  readonly hardware: Claim;
  readonly "runtime-opaque": Claim;
  readonly "storage-opaque": Claim;
  readonly "sourced-data": Claim;
}

/** Checks that a claim rests on; a name that ends in a dash stands for all that begin with it. */
const RESTS_ON = {
  identity: ["ek-", "iak-", "ak-", "node-id", "bindings", "quote-signature", "qualifying-data"],
  configuration: ["log-", "secure-boot-log", "pcrs-not-zero"],
  executables: ["reference", "pcr-4", "pcr-9", "pcr-11", "pcr-12", "pcr-13"],
  hardware: ["hardware-tpm", "tpm-firmware"],
  data: ["attachment-", "unit-root", "qualifying-data", "nonce", "nonce-is-own", "sequence", "tpm-counters"],
} as const;

/** `software` is nothing where no believed maker vouches for the TPM. */
export function trustVector(checks: readonly Check[], facts: Facts, software: boolean | undefined): TrustVector {
  const claim = (names: readonly string[], doubt: boolean): Claim => {
    const rests = (name: string): boolean => names.some((one) => (one.endsWith("-") ? name.startsWith(one) : name === one));
    const judged = checks.filter((check) => check.outcome !== "not-applicable" && rests(check.name));
    if (judged.length === 0) return NONE;
    if (judged.some((check) => check.outcome === "fail")) return CONTRAINDICATED;
    return doubt ? WARNING : AFFIRMING;
  };
  return {
    "instance-identity": claim(RESTS_ON.identity, facts.challengers === 0 || software !== false),
    configuration: claim(RESTS_ON.configuration, facts.secure_boot !== true),
    executables: claim(RESTS_ON.executables, false),
    "file-system": NONE,
    hardware: software === undefined ? CONTRAINDICATED : claim(RESTS_ON.hardware, software),
    "runtime-opaque": NONE,
    "storage-opaque": NONE,
    "sourced-data": claim(RESTS_ON.data, false),
  };
}
