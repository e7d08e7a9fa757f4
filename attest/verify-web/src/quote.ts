// What the TPM signed, with which key, and over which PCRs.

import { concat, equal, FormatError, isZero, toHex, u256be, utf8, type Bytes } from "./bytes.js";
import type { Evidence } from "./evidence.js";
import { ALG, decodePublic, decodeQuote, decodeSignature, digest, qualifiedName, tpmName, type PublicArea, type Quote } from "./tpm.js";
import type { Checks } from "./verdict.js";

/** fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign. */
const AK_ATTRIBUTES = 0x0005_0472;
const REQUIRED_PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15];
const MAGIC = "ff544347";
const TYPE_QUOTE = "8018";

/** What the quote says. */
export interface Quoted {
  readonly akName: Bytes;
  readonly quote: Quote;
  /** Values of exactly the signed selection. */
  readonly pcrs: ReadonlyMap<number, Bytes>;
}

/** Judges the quote; nothing if it could not be read far enough to judge anything that rests on it. */
export async function checkQuote(subtle: SubtleCrypto, evidence: Evidence, checks: Checks): Promise<Quoted | undefined> {
  const ak = checkKey(evidence, checks);
  if (ak === undefined) return undefined;
  const quote = checkAttest(evidence, checks);
  if (quote === undefined) return undefined;
  const signature = checkSignatureStructure(evidence, checks);
  if (signature !== undefined) {
    // Nothing below rests on it, so nothing below waits for it.
    checks.later(isSigned(subtle, ak, evidence.attest, signature).then((holds) => ({
      name: "quote-signature",
      outcome: holds ? "pass" : "fail",
      measured: holds ? "valid" : "invalid",
      expected: "valid",
      note: holds ? "" : "the attestation key did not sign these bytes",
    })));
  }
  const akName = (await tpmName(subtle, ak.nameAlg, evidence.akPublic)) ?? new Uint8Array();
  const expected = await qualifiedName(subtle, akName);
  checks.add("ak-hierarchy", equal(quote.qualifiedSigner, expected), toHex(quote.qualifiedSigner), toHex(expected),
    "the attestation key is not a primary key of the endorsement hierarchy");
  checks.add("ak-name", equal(evidence.statement.akName, akName), toHex(evidence.statement.akName), toHex(akName),
    "the statement names another attestation key");
  const wanted = await qualifyingData(subtle, evidence);
  checks.add("qualifying-data", equal(quote.extraData, wanted), toHex(quote.extraData), toHex(wanted),
    "the quote was not made for this statement");
  const pcrs = await checkPcrs(subtle, evidence, quote, checks);
  return pcrs && { akName, quote, pcrs };
}

/** The attestation key, if its public area has the one form that is accepted. */
function checkKey(evidence: Evidence, checks: Checks): PublicArea | undefined {
  let area: PublicArea;
  try {
    area = decodePublic(evidence.akPublic, "ak-public");
  } catch (error) {
    failOn(error, "ak-public", checks);
    return undefined;
  }
  const plain =
    area.nameAlg === ALG.sha256 &&
    area.attributes === AK_ATTRIBUTES &&
    area.policy.length === 0 &&
    area.cipher === ALG.null &&
    area.scheme.alg === ALG.ecdsa &&
    area.scheme.hash === ALG.sha256;
  const onP256 = area.unique.kind === "ecc" && area.unique.curve === "P-256";
  checks.add("ak-attributes", plain && onP256, hex32(area.attributes),
    "0x00050472: restricted P-256 signing key with ECDSA/SHA-256, made in and fixed to its TPM, noDA",
    "this key may sign what is no quote, or can leave its TPM");
  if (onP256) return area;
  checks.fail("ak-curve", area.unique.kind === "ecc" ? area.unique.curve : "RSA", "the attestation key is not on P-256");
  return undefined;
}

export function hex32(value: number): string {
  return `0x${value.toString(16).padStart(8, "0")}`;
}

/** Turns a parser's objection into a failed check; other errors are faults of this program. */
export function failOn(error: unknown, name: string, checks: Checks): void {
  if (!(error instanceof FormatError)) throw error;
  checks.fail(name, "", error.message);
}

function checkAttest(evidence: Evidence, checks: Checks): Quote | undefined {
  const magic = toHex(evidence.attest.subarray(0, 4));
  const type = toHex(evidence.attest.subarray(4, 6));
  if (!checks.add("attest-magic", magic === MAGIC, magic, MAGIC, "these bytes were not made by a TPM")) return undefined;
  if (!checks.add("attest-type", type === TYPE_QUOTE, type, TYPE_QUOTE, "the TPM signed something else than a quote")) {
    return undefined;
  }
  try {
    const quote = decodeQuote(evidence.attest);
    checks.pass("attest-structure", `${evidence.attest.length} bytes`);
    return quote;
  } catch (error) {
    failOn(error, "attest-structure", checks);
    return undefined;
  }
}

/** r ‖ s of the quote's signature. */
function checkSignatureStructure(evidence: Evidence, checks: Checks): Bytes | undefined {
  try {
    const signature = decodeSignature(evidence.signature);
    const right = signature.raw !== undefined && signature.hash === ALG.sha256;
    const measured = right ? "ecdsa with sha256" : `0x${signature.alg.toString(16)} with 0x${signature.hash.toString(16)}`;
    checks.add("signature-scheme", right, measured, "ecdsa with sha256", "the signature is not of the key's scheme");
    return right ? signature.raw : undefined;
  } catch (error) {
    failOn(error, "signature-structure", checks);
    return undefined;
  }
}

async function isSigned(subtle: SubtleCrypto, ak: PublicArea, message: Bytes, signature: Bytes): Promise<boolean> {
  if (ak.unique.kind !== "ecc") return false;
  return verifyP256(subtle, concat(ak.unique.x, ak.unique.y), message, signature);
}

/** ECDSA on P-256 with SHA-256; a point that is not on the curve verifies nothing. */
export async function verifyP256(subtle: SubtleCrypto, xy: Bytes, message: Bytes, signature: Bytes): Promise<boolean> {
  const ecdsa = { name: "ECDSA", namedCurve: "P-256" };
  try {
    const key = await subtle.importKey("raw", concat(Uint8Array.of(4), xy), ecdsa, false, ["verify"]);
    return await subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key, signature, message);
  } catch {
    return false;
  }
}

async function qualifyingData(subtle: SubtleCrypto, evidence: Evidence): Promise<Bytes> {
  const { statement } = evidence;
  let anchor: Bytes = new Uint8Array(32);
  if (statement.target !== undefined) {
    const { chainId, registry, operator } = statement.target;
    const unitRoot = statement.unitRoot ?? new Uint8Array(32);
    anchor = await digest(subtle, "SHA-256", u256be(chainId), registry, operator, statement.nodeId, unitRoot, new Uint8Array(32));
  }
  const hash = await digest(subtle, "SHA-256", evidence.statementBytes);
  return digest(subtle, "SHA-256", utf8("scalerforge/quote/v1\0"), anchor, hash);
}

const list = (indices: readonly (number | bigint)[]): string => `[${indices.join(", ")}]`;

/** Judges the selection by the signed bytes alone, then the claimed values against it. */
async function checkPcrs(subtle: SubtleCrypto, evidence: Evidence, quote: Quote, checks: Checks): Promise<Quoted["pcrs"] | undefined> {
  const [selection, ...others] = quote.selections;
  const oneBank = selection?.bank === ALG.sha256 && others.length === 0;
  const banks = quote.selections.map((each) => (each.bank === ALG.sha256 ? "sha256" : `0x${each.bank.toString(16)}`));
  checks.add("pcr-bank", oneBank, banks.join(", ") || "none", "sha256", "the quote is not over exactly the SHA-256 bank");
  if (!oneBank || selection === undefined) return undefined;
  const { indices } = selection;
  const covered = REQUIRED_PCRS.every((pcr) => indices.includes(pcr));
  checks.add("pcrs-required", covered, list(indices), list(REQUIRED_PCRS), "the quote leaves out PCRs that must be in it");
  const resettable = indices.filter((pcr) => pcr >= 16);
  checks.add("pcrs-forbidden", resettable.length === 0, list(resettable), "[]", "software can reset these PCRs");
  const claimed = evidence.pcrs;
  const match =
    claimed.length === indices.length &&
    claimed.every((claim, at) => claim.bank === BigInt(ALG.sha256) && claim.index === BigInt(indices[at] ?? -1));
  checks.add("pcr-values-match-selection", match, list(claimed.map((claim) => claim.index)), list(indices),
    "the values are not those of the signed selection, in its order");
  const odd = claimed.filter((claim) => claim.digest.length !== 32);
  const lengths = checks.add("pcr-value-lengths", odd.length === 0, odd.map((claim) => `PCR ${claim.index}: ${claim.digest.length} bytes`).join(", "),
    "", "a SHA-256 value has 32 bytes");
  if (!match || !lengths) return undefined;
  const actual = await digest(subtle, "SHA-256", ...claimed.map((claim) => claim.digest));
  checks.add("pcr-digest", equal(actual, quote.pcrDigest), toHex(actual), toHex(quote.pcrDigest),
    "the values are not those that were signed");
  return new Map(claimed.map((claim) => [Number(claim.index), claim.digest]));
}

/** PCRs 0 to 7 that nothing was ever measured into: an operating system could fill them later. */
export function zeroBootPcrs(pcrs: ReadonlyMap<number, Bytes>): number[] {
  return [...pcrs].filter(([pcr, value]) => pcr < 8 && isZero(value)).map(([pcr]) => pcr);
}
