// TPM 2.0 structures as a TPM writes them: big-endian, without padding, and here without a byte left over.

import { concat, fitted, Reader, u16be, type Bytes } from "./bytes.js";
import { sha256 } from "./sha256.js";

export const ALG = { rsa: 0x0001, sha1: 0x0004, sha256: 0x000b, sha384: 0x000c, sha512: 0x000d, null: 0x0010, ecdsa: 0x0018, ecc: 0x0023 } as const;

export const ATTRIBUTE = {
  fixedTpm: 1 << 1,
  fixedParent: 1 << 4,
  restricted: 1 << 16,
  decrypt: 1 << 17,
  sign: 1 << 18,
  sensitiveDataOrigin: 1 << 5,
} as const;

/** Hashes that name keys and fill banks: WebCrypto's name and the digest's length in bytes. */
export const HASHES: ReadonlyMap<number, { readonly name: string; readonly length: number }> = new Map([
  [ALG.sha1, { name: "SHA-1", length: 20 }],
  [ALG.sha256, { name: "SHA-256", length: 32 }],
  [ALG.sha384, { name: "SHA-384", length: 48 }],
  [ALG.sha512, { name: "SHA-512", length: 64 }],
]);

/** Hashes that name keys: SHA-1 does not. */
const NAME_HASHES = new Set<number>([ALG.sha256, ALG.sha384, ALG.sha512]);

/** TPM_ECC_CURVE of the three NIST curves, by WebCrypto's names, with the length of a coordinate. */
export const CURVES: ReadonlyMap<number, { readonly name: string; readonly length: number }> = new Map([
  [0x0003, { name: "P-256", length: 32 }],
  [0x0004, { name: "P-384", length: 48 }],
  [0x0005, { name: "P-521", length: 66 }],
]);

/** A scheme or key derivation: the algorithm, and its hash unless the algorithm is null. */
export interface Scheme {
  readonly alg: number;
  readonly hash: number | undefined;
}

export type Unique =
  | { readonly kind: "rsa"; readonly exponent: number; readonly modulus: Bytes }
  /** `x` and `y` have the full length of the curve. */
  | { readonly kind: "ecc"; readonly curve: string; readonly x: Bytes; readonly y: Bytes };

export interface PublicArea {
  readonly nameAlg: number;
  readonly attributes: number;
  readonly policy: Bytes;
  readonly cipher: number;
  readonly scheme: Scheme;
  readonly unique: Unique;
}

export const RSASSA = 0x0014;
const RSAPSS = 0x0016;
/** Bits of TPMA_OBJECT that have a meaning; the rest are reserved and zero. */
const ATTRIBUTES_KNOWN = 0x000f_0ff6;
const RSA_BITS = [1024, 2048, 3072, 4096];
/** Larger than any of the structures here. */
const STRUCTURE_BYTES_MAX = 1024;
const POLICY_BYTES_MAX = 64;

/** A TPM2B that must not be longer than what the field can hold. */
function bounded(reader: Reader, field: string, most: number): Bytes {
  const value = reader.sized(field);
  if (value.length > most) reader.fail(field, `${value.length} bytes; at most ${most} belong here`);
  return value;
}

function whole(bytes: Bytes, field: string): Reader {
  const reader = new Reader(bytes);
  if (bytes.length > STRUCTURE_BYTES_MAX) reader.fail(field, `${bytes.length} bytes`);
  return reader;
}

/** TPMT_PUBLIC. */
export function decodePublic(bytes: Bytes, field: string): PublicArea {
  const reader = whole(bytes, field);
  const type = reader.u16(`${field}.type`);
  if (type !== ALG.rsa && type !== ALG.ecc) reader.fail(`${field}.type`, `0x${type.toString(16)} is neither RSA nor ECC`);
  const nameAlg = reader.u16(`${field}.nameAlg`);
  if (!NAME_HASHES.has(nameAlg)) reader.fail(`${field}.nameAlg`, `0x${nameAlg.toString(16)} names no key`);
  const attributes = reader.u32(`${field}.objectAttributes`);
  if ((attributes & ~ATTRIBUTES_KNOWN) !== 0) reader.fail(`${field}.objectAttributes`, "reserved bits are set");
  const policy = bounded(reader, `${field}.authPolicy`, POLICY_BYTES_MAX);
  const cipher = reader.u16(`${field}.symmetric`);
  if (cipher !== ALG.null) {
    reader.u16(`${field}.symmetric.keyBits`);
    reader.u16(`${field}.symmetric.mode`);
  }
  const scheme = decodeScheme(reader, `${field}.scheme`);
  const unique = type === ALG.rsa ? rsaUnique(reader, field) : eccUnique(reader, field);
  reader.end(field);
  return { nameAlg, attributes, policy, cipher, scheme, unique };
}

function rsaUnique(reader: Reader, field: string): Unique {
  const bits = reader.u16(`${field}.keyBits`);
  if (!RSA_BITS.includes(bits)) reader.fail(`${field}.keyBits`, `${bits} bits`);
  // A TPM writes 0 for the usual exponent.
  const exponent = reader.u32(`${field}.exponent`) || 65_537;
  const modulus = reader.sized(`${field}.unique`);
  if (modulus.length !== bits / 8) reader.fail(`${field}.unique`, `${modulus.length} bytes for ${bits} bits`);
  return { kind: "rsa", exponent, modulus };
}

function eccUnique(reader: Reader, field: string): Unique {
  const curve = CURVES.get(reader.u16(`${field}.curveID`));
  if (curve === undefined) return reader.fail(`${field}.curveID`, "neither P-256 nor P-384 nor P-521");
  if (reader.u16(`${field}.kdf`) !== ALG.null) reader.fail(`${field}.kdf`, "not null");
  const [x, y] = ["x", "y"].map((name) => fitted(bounded(reader, `${field}.unique.${name}`, curve.length), curve.length));
  return { kind: "ecc", curve: curve.name, x: x ?? new Uint8Array(), y: y ?? new Uint8Array() };
}

function decodeScheme(reader: Reader, field: string): Scheme {
  const alg = reader.u16(field);
  if (alg === ALG.null) return { alg, hash: undefined };
  if (alg !== RSASSA && alg !== RSAPSS && alg !== ALG.ecdsa) reader.fail(field, `0x${alg.toString(16)} signs nothing here`);
  return { alg, hash: reader.u16(`${field}.hashAlg`) };
}

export interface PcrSelection {
  readonly bank: number;
  readonly indices: readonly number[];
}

/** What every attestation begins with. */
interface Attested {
  readonly qualifiedSigner: Bytes;
  readonly extraData: Bytes;
  readonly clock: bigint;
  readonly resetCount: number;
  readonly restartCount: number;
  readonly safe: boolean;
  readonly firmware: bigint;
}

export interface Quote extends Attested {
  readonly selections: readonly PcrSelection[];
  readonly pcrDigest: Bytes;
}

/** TPM2_Certify: the signer says that this object is in the same TPM. */
export interface Certified extends Attested {
  readonly name: Bytes;
  readonly qualifiedName: Bytes;
}

/** TPM2B_DATA and TPM2B_DIGEST of a TPM with SHA-512. */
const EXTRA_BYTES_MAX = 66;
const DIGEST_BYTES_MAX = 64;
/** Largest TPML_PCR_SELECTION: a TPM has at most 16 banks. */
const BANKS_MAX = 16;
/** PCR_SELECT_MAX is 3 or 4 bytes on every TPM there is. */
const SELECT_BYTES_MAX = 4;

function decodeName(reader: Reader, field: string): Bytes {
  const name = reader.sized(field);
  const alg = name.length < 2 ? 0 : (name[0] ?? 0) * 256 + (name[1] ?? 0);
  if (!NAME_HASHES.has(alg) || name.length !== 2 + (HASHES.get(alg)?.length ?? 0)) reader.fail(field, "not a TPM Name");
  return name;
}

/** What follows magic and type in every TPMS_ATTEST. */
function decodeAttested(reader: Reader): Attested {
  const qualifiedSigner = decodeName(reader, "attest.qualifiedSigner");
  const extraData = bounded(reader, "attest.extraData", EXTRA_BYTES_MAX);
  const clock = reader.u64("attest.clock");
  const resetCount = reader.u32("attest.resetCount");
  const restartCount = reader.u32("attest.restartCount");
  const safe = reader.u8("attest.safe");
  if (safe > 1) reader.fail("attest.safe", `${safe} is neither 0 nor 1`);
  const firmware = reader.u64("attest.firmwareVersion");
  return { qualifiedSigner, extraData, clock, resetCount, restartCount, safe: safe === 1, firmware };
}

const MAGIC = 0xff54_4347;
const TYPE_CERTIFY = 0x8017;

/** TPMS_ATTEST of TPM2_Certify, whole. */
export function decodeCertified(bytes: Bytes): Certified {
  const reader = whole(bytes, "attest");
  if (reader.u32("attest.magic") !== MAGIC) reader.fail("attest.magic", "not made by a TPM");
  if (reader.u16("attest.type") !== TYPE_CERTIFY) reader.fail("attest.type", "not TPM2_Certify");
  const attested = decodeAttested(reader);
  const name = decodeName(reader, "attest.name");
  const qualifiedName = decodeName(reader, "attest.qualifiedName");
  reader.end("attest");
  return { ...attested, name, qualifiedName };
}

/** TPMS_ATTEST of a quote, past magic and type, which the caller has judged. */
export function decodeQuote(bytes: Bytes): Quote {
  const reader = whole(bytes, "attest");
  reader.take(6, "attest.magic");
  const attested = decodeAttested(reader);
  const count = reader.u32("attest.pcrSelect");
  if (count > BANKS_MAX) reader.fail("attest.pcrSelect", `${count} banks`);
  const selections = Array.from({ length: count }, () => decodeSelection(reader));
  const pcrDigest = bounded(reader, "attest.pcrDigest", DIGEST_BYTES_MAX);
  reader.end("attest");
  return { ...attested, selections, pcrDigest };
}

function decodeSelection(reader: Reader): PcrSelection {
  const bank = reader.u16("attest.pcrSelect.hash");
  const length = reader.u8("attest.pcrSelect.sizeofSelect");
  if (length > SELECT_BYTES_MAX) reader.fail("attest.pcrSelect.sizeofSelect", `${length} bytes`);
  const bits = reader.take(length, "attest.pcrSelect.pcrSelect");
  const indices: number[] = [];
  for (let index = 0; index < 8 * length; index++) {
    if (((bits[index >>> 3] ?? 0) >>> (index & 7)) & 1) indices.push(index);
  }
  return { bank, indices };
}

export interface TpmSignature {
  readonly alg: number;
  readonly hash: number;
  /** r ‖ s if both fit P-256; nothing for another algorithm or a larger curve. */
  readonly raw: Bytes | undefined;
  /** The numbers as they stand: r and s, or the one of RSA. */
  readonly numbers: readonly Bytes[];
}

const ECC_BYTES_MAX = 66;
const RSA_BYTES_MAX = 512;

/** TPMT_SIGNATURE of the kinds a restricted key makes. */
export function decodeSignature(bytes: Bytes): TpmSignature {
  const reader = whole(bytes, "signature");
  const alg = reader.u16("signature.sigAlg");
  if (alg !== ALG.ecdsa && alg !== RSASSA && alg !== RSAPSS) reader.fail("signature.sigAlg", `0x${alg.toString(16)}`);
  const hash = reader.u16("signature.hash");
  const number = (field: string, most: number): Bytes => {
    const value = bounded(reader, field, most);
    return value.length === 0 ? reader.fail(field, "empty") : value;
  };
  if (alg !== ALG.ecdsa) {
    const numbers = [number("signature.sig", RSA_BYTES_MAX)];
    reader.end("signature");
    return { alg, hash, raw: undefined, numbers };
  }
  const [r, s] = [number("signature.r", ECC_BYTES_MAX), number("signature.s", ECC_BYTES_MAX)];
  reader.end("signature");
  // 33 bytes do not fit, even if the first is zero: a TPM leaves zeros out, it does not add them.
  if (r.length > 32 || s.length > 32) return { alg, hash, raw: undefined, numbers: [r, s] };
  return { alg, hash, raw: concat(fitted(r, 32) ?? r, fitted(s, 32) ?? s), numbers: [r, s] };
}

/** Up to here hashing takes less time than asking WebCrypto to; see sha256.ts. */
const SHORT_BYTES_MAX = 2048;

/** A hash of the parts as one message.  `subtle` is handed in, so that Node 18 and browsers look alike. */
export async function digest(subtle: SubtleCrypto, name: string, ...parts: readonly Uint8Array[]): Promise<Bytes> {
  if (name === "SHA-256" && parts.reduce((sum, part) => sum + part.length, 0) <= SHORT_BYTES_MAX) return sha256(...parts);
  return new Uint8Array(await subtle.digest(name, concat(...parts)));
}

const HANDLE_ENDORSEMENT = Uint8Array.of(0x40, 0x00, 0x00, 0x0b);

/** Name that a primary key of the endorsement hierarchy signs under: nameAlg ‖ H(handle ‖ Name). */
export async function qualifiedName(subtle: SubtleCrypto, name: Bytes): Promise<Bytes> {
  const hash = HASHES.get((name[0] ?? 0) * 256 + (name[1] ?? 0))?.name ?? "SHA-256";
  return concat(name.subarray(0, 2), await digest(subtle, hash, HANDLE_ENDORSEMENT, name));
}

/** TPM Name of a public area: nameAlg ‖ H(TPMT_PUBLIC); nothing for a hash that names no key here. */
export async function tpmName(subtle: SubtleCrypto, nameAlg: number, publicArea: Bytes): Promise<Bytes | undefined> {
  const hash = NAME_HASHES.has(nameAlg) ? HASHES.get(nameAlg) : undefined;
  return hash && concat(u16be(nameAlg), await digest(subtle, hash.name, publicArea));
}
