// From a certificate up to a root that the reader of the evidence trusts.

import { concat, fitted, type Bytes } from "./bytes.js";
import { isRevoked, type Crl } from "./crl.js";
import { derDocument, inside, TAG } from "./der.js";
import { EXTENSION, KNOWN_CRITICAL, sameName, showName, unsigned, type Certificate, type CertificateKey, type Signed } from "./x509.js";

/** Certificates of TPM makers.  A self-issued one is a root; only those are believed. */
export interface Roots {
  readonly certificates: readonly Certificate[];
  /** What could not be read of the files they came from, for people. */
  readonly remarks: readonly string[];
}

export type Chain = { readonly path: readonly Certificate[] } | { readonly wrong: string; readonly revoked: boolean };

/** Whom to believe, and as of when. */
export interface Belief {
  /** Certificates that end a chain. */
  readonly anchors: readonly Certificate[];
  /** Other certificates of the bundle. */
  readonly others: readonly Certificate[];
  readonly crls: readonly Crl[];
  readonly now: number;
}

/** TPM makers: self-issued certificates are roots. */
export function makers(roots: Roots, crls: readonly Crl[], now: number): Belief {
  const [anchors, others] = [true, false].map((root) => roots.certificates.filter((each) => isSelfIssued(each) === root));
  return { anchors: anchors ?? [], others: others ?? [], crls, now };
}

/** Issuers above the endorsement key's certificate, the root included. */
const ISSUERS_MAX = 6;

/** Key usage bit 5: may sign certificates. */
const KEY_CERT_SIGN = 5;

/** Signature checks for one chain: a file full of look-alike intermediates costs no more. */
const SIGNATURES_MAX = 64;

/** Signatures under way or done: the likeliest path is judged side by side before the search walks it. */
class Signatures {
  private readonly begun = new Map<Certificate, Map<Certificate, Promise<boolean>>>();

  constructor(private readonly subtle: SubtleCrypto) {}

  holds(child: Certificate, issuer: Certificate): Promise<boolean> {
    const known = this.begun.get(child)?.get(issuer);
    if (known !== undefined) return known;
    const asked = isSignedBy(this.subtle, child, issuer);
    this.begun.set(child, (this.begun.get(child) ?? new Map<Certificate, Promise<boolean>>()).set(issuer, asked));
    return asked;
  }

  /** By names alone, the first that fits each time: usually the chain there is. */
  guess(leaf: Certificate, pool: readonly Certificate[], trusted: ReadonlySet<Certificate>): void {
    let child = leaf;
    for (let depth = 0; depth < ISSUERS_MAX && !trusted.has(child); depth++) {
      const issuer = pool.find((one) => sameName(child.issuer, one.subject));
      if (issuer === undefined) return;
      void this.holds(child, issuer);
      child = issuer;
    }
  }
}

/**
 * Searches depth first: roots, then what the file brought, then what the bundle has.  The file's intermediates must all be in
 * the chain, so which one is found matters.
 */
export async function chainToRoot(
  subtle: SubtleCrypto,
  leaf: Certificate,
  fromFile: readonly Certificate[],
  belief: Belief,
): Promise<Chain> {
  const trusted = new Set<Certificate>(belief.anchors);
  // A self-issued certificate ends a chain or is none of ours: a file cannot bring its own root.
  const pool = [...belief.anchors, ...[...fromFile, ...belief.others].filter((certificate) => !isSelfIssued(certificate))];
  const signatures = new Signatures(subtle);
  signatures.guess(leaf, pool, trusted);
  let wrong = `no issuer "${showName(leaf.issuer)}" among the roots and intermediates`;
  let revoked: string | undefined;
  let tried = 0;
  const above = async (path: readonly Certificate[], child: Certificate): Promise<readonly Certificate[] | undefined> => {
    if (path.length > ISSUERS_MAX) {
      wrong = "the chain is too long";
      return undefined;
    }
    for (const issuer of pool) {
      if (!sameName(child.issuer, issuer.subject) || tried >= SIGNATURES_MAX) continue;
      tried++;
      const objection = objectionTo(issuer, path, belief.now) ?? ((await signatures.holds(child, issuer)) ? undefined : "did not sign");
      if (objection !== undefined) {
        wrong = `${showName(issuer.subject)} ${objection}`;
        continue;
      }
      if (await isRevoked(subtle, child, issuer, belief.crls)) {
        revoked = `${showName(issuer.subject)} took back ${showName(child.subject)}`;
        continue;
      }
      const longer = [...path, issuer];
      if (trusted.has(issuer)) return longer;
      wrong = `no issuer "${showName(issuer.issuer)}" among the roots and intermediates`;
      const whole = await above(longer, issuer);
      if (whole !== undefined) return whole;
    }
    return undefined;
  };
  const path = await above([leaf], leaf);
  return path ? { path } : { wrong: revoked ?? wrong, revoked: revoked !== undefined };
}

export function isSelfIssued(certificate: Certificate): boolean {
  return sameName(certificate.subject, certificate.issuer);
}

/** Why a certificate may not issue for the path below it, signature aside. */
function objectionTo(issuer: Certificate, path: readonly Certificate[], now: number): string | undefined {
  const unreadable = [EXTENSION.basicConstraints, EXTENSION.keyUsage].some((name) => issuer.unreadable.has(name));
  if (unreadable) return "has an extension that cannot be read";
  if (!issuer.ca) return "is no CA";
  if (issuer.keyUsage !== undefined && issuer.keyUsage[KEY_CERT_SIGN] !== true) return "may not sign certificates";
  if (now < issuer.notBefore || now > issuer.notAfter) return "is not valid at this time";
  const unknown = issuer.critical.find((name) => !KNOWN_CRITICAL.has(name));
  if (unknown !== undefined) return `has an unknown critical extension ${unknown}`;
  if (issuer.pathLength !== undefined && path.length - 1 > issuer.pathLength) return "is too far above: path length";
  return undefined;
}

type Algorithm = { readonly kind: "rsa" | "ecc"; readonly hash: string };
const ALGORITHMS: ReadonlyMap<string, Algorithm> = new Map<string, Algorithm>([
  ["1.2.840.113549.1.1.11", { kind: "rsa", hash: "SHA-256" }],
  ["1.2.840.113549.1.1.12", { kind: "rsa", hash: "SHA-384" }],
  ["1.2.840.113549.1.1.13", { kind: "rsa", hash: "SHA-512" }],
  ["1.2.840.10045.4.3.2", { kind: "ecc", hash: "SHA-256" }],
  ["1.2.840.10045.4.3.3", { kind: "ecc", hash: "SHA-384" }],
  ["1.2.840.10045.4.3.4", { kind: "ecc", hash: "SHA-512" }],
]);

const COORDINATE_BYTES: ReadonlyMap<string, number> = new Map([["P-256", 32], ["P-384", 48], ["P-521", 66]]);

export async function isSignedBy(subtle: SubtleCrypto, signed: Signed, issuer: Certificate): Promise<boolean> {
  const { innerAlgorithm: inner, outerAlgorithm: outer } = signed;
  const algorithm = ALGORITHMS.get(outer.name);
  if (algorithm === undefined || algorithm.kind !== issuer.key.kind) return false;
  if (inner.name !== outer.name || inner.parameters !== outer.parameters) return false;
  try {
    if (issuer.key.kind === "rsa") return await rsaHolds(subtle, issuer.key, algorithm.hash, signed.tbs, signed.signature);
    if (issuer.key.kind !== "ecc") return false;
    // Strictly: one signature must not have a second form.
    const parts = inside(derDocument(signed.signature, "signature", true), TAG.sequence, "signature", true);
    const numbers = parts.map((part) => unsigned(part, "signature", true));
    return numbers.length === 2 && (await ecdsaHolds(subtle, issuer.key, algorithm.hash, signed.tbs, numbers));
  } catch {
    // WebCrypto throws on keys that are none, and the reader of a signature on bytes that are none: not signed.
    return false;
  }
}

type RsaKey = CertificateKey & { kind: "rsa" };
type EccKey = CertificateKey & { kind: "ecc" };

/** Whether a certified key signed a message the way a TPM writes signatures: r and s, or one number of RSA. */
export async function isSignedByKey(
  subtle: SubtleCrypto,
  key: CertificateKey,
  hash: string,
  message: Bytes,
  numbers: readonly Bytes[],
): Promise<boolean> {
  const [first, second, ...more] = numbers;
  if (first === undefined || more.length > 0) return false;
  try {
    if (key.kind === "rsa" && second === undefined) return await rsaHolds(subtle, key, hash, message, first);
    if (key.kind === "ecc" && second !== undefined) return await ecdsaHolds(subtle, key, hash, message, [first, second]);
    return false;
  } catch {
    return false;
  }
}

async function rsaHolds(subtle: SubtleCrypto, key: RsaKey, hash: string, message: Bytes, signature: Bytes): Promise<boolean> {
  const bits = 8 * key.modulus.length;
  if (bits < 2048 || bits > 4096) return false;
  const jwk = { kty: "RSA", n: base64url(key.modulus), e: base64url(key.exponent) };
  const name = "RSASSA-PKCS1-v1_5";
  const imported = await subtle.importKey("jwk", jwk, { name, hash }, false, ["verify"]);
  return subtle.verify(name, imported, signature, message);
}

async function ecdsaHolds(subtle: SubtleCrypto, key: EccKey, hash: string, message: Bytes, numbers: readonly Bytes[]): Promise<boolean> {
  const length = COORDINATE_BYTES.get(key.curve) ?? 0;
  const [r, s] = numbers.map((number) => fitted(number, length));
  if (!r || !s || key.point[0] !== 0x04) return false;
  const imported = await subtle.importKey("raw", key.point, { name: "ECDSA", namedCurve: key.curve }, false, ["verify"]);
  return subtle.verify({ name: "ECDSA", hash }, imported, concat(r, s), message);
}

export function base64url(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}
