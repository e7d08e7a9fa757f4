// TPM 2.0 structures as a TPM writes them: big-endian, without padding, and here without a byte left over.

import { concat, fitted, Reader, u16be, type Bytes } from "./bytes.js";

export const ALG = { rsa: 0x0001, sha1: 0x0004, sha256: 0x000b, sha384: 0x000c, sha512: 0x000d, null: 0x0010, ecdsa: 0x0018, ecc: 0x0023 } as const;

export const ATTRIBUTE = {
  fixedTpm: 1 << 1,
  fixedParent: 1 << 4,
  restricted: 1 << 16,
  decrypt: 1 << 17,
  sign: 1 << 18,
} as const;

/** Hashes that name keys and fill banks: WebCrypto's name and the digest's length in bytes. */
export const HASHES: ReadonlyMap<number, { readonly name: string; readonly length: number }> = new Map([
  [ALG.sha1, { name: "SHA-1", length: 20 }],
  [ALG.sha256, { name: "SHA-256", length: 32 }],
  [ALG.sha384, { name: "SHA-384", length: 48 }],
  [ALG.sha512, { name: "SHA-512", length: 64 }],
]);

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
  | { readonly kind: "rsa"; readonly bits: number; readonly exponent: number; readonly modulus: Bytes }
  | { readonly kind: "ecc"; readonly curve: number; readonly kdf: Scheme; readonly x: Bytes; readonly y: Bytes };

export interface PublicArea {
  readonly nameAlg: number;
  readonly attributes: number;
  readonly policy: Bytes;
  readonly cipher: number;
  readonly scheme: Scheme;
  readonly unique: Unique;
}

/** Block ciphers that take key bits and a mode: AES, SM4, Camellia, TDES. */
const CIPHERS = new Set([0x0006, 0x0013, 0x0026, 0x0003]);
const RSAES = 0x0015;
const ECDAA = 0x001a;

/** TPMT_PUBLIC. */
export function decodePublic(bytes: Bytes, field: string): PublicArea {
  const reader = new Reader(bytes);
  const type = reader.u16(`${field}.type`);
  if (type !== ALG.rsa && type !== ALG.ecc) reader.fail(`${field}.type`, `0x${type.toString(16)} is neither RSA nor ECC`);
  const nameAlg = reader.u16(`${field}.nameAlg`);
  const attributes = reader.u32(`${field}.objectAttributes`);
  const policy = reader.sized(`${field}.authPolicy`);
  const cipher = reader.u16(`${field}.symmetric`);
  if (cipher !== ALG.null) {
    if (!CIPHERS.has(cipher)) reader.fail(`${field}.symmetric`, `0x${cipher.toString(16)} is no block cipher`);
    reader.u16(`${field}.symmetric.keyBits`);
    reader.u16(`${field}.symmetric.mode`);
  }
  const scheme = decodeScheme(reader, `${field}.scheme`);
  const unique: Unique =
    type === ALG.rsa
      ? {
          kind: "rsa",
          bits: reader.u16(`${field}.keyBits`),
          // A TPM writes 0 for the usual exponent.
          exponent: reader.u32(`${field}.exponent`) || 65_537,
          modulus: reader.sized(`${field}.unique`),
        }
      : {
          kind: "ecc",
          curve: reader.u16(`${field}.curveID`),
          kdf: decodeScheme(reader, `${field}.kdf`),
          x: reader.sized(`${field}.unique.x`),
          y: reader.sized(`${field}.unique.y`),
        };
  reader.end(field);
  return { nameAlg, attributes, policy, cipher, scheme, unique };
}

function decodeScheme(reader: Reader, field: string): Scheme {
  const alg = reader.u16(field);
  if (alg === ALG.null || alg === RSAES) return { alg, hash: undefined };
  const hash = reader.u16(`${field}.hashAlg`);
  if (alg === ECDAA) reader.u16(`${field}.count`);
  return { alg, hash };
}

export interface PcrSelection {
  readonly bank: number;
  readonly indices: readonly number[];
}

export interface Quote {
  readonly qualifiedSigner: Bytes;
  readonly extraData: Bytes;
  readonly clock: bigint;
  readonly resetCount: number;
  readonly restartCount: number;
  readonly safe: boolean;
  readonly firmware: bigint;
  readonly selections: readonly PcrSelection[];
  readonly pcrDigest: Bytes;
}

/** Largest TPML_PCR_SELECTION: a TPM has at most 16 banks. */
const BANKS_MAX = 16;
/** PCR_SELECT_MAX is 3 or 4 bytes on every TPM there is. */
const SELECT_BYTES_MAX = 4;

/** TPMS_ATTEST of a quote, past magic and type, which the caller has judged. */
export function decodeQuote(bytes: Bytes): Quote {
  const reader = new Reader(bytes);
  reader.take(6, "attest.magic");
  const qualifiedSigner = reader.sized("attest.qualifiedSigner");
  const extraData = reader.sized("attest.extraData");
  const clock = reader.u64("attest.clock");
  const resetCount = reader.u32("attest.resetCount");
  const restartCount = reader.u32("attest.restartCount");
  const safe = reader.u8("attest.safe");
  if (safe > 1) reader.fail("attest.safe", `${safe} is neither 0 nor 1`);
  const firmware = reader.u64("attest.firmwareVersion");
  const count = reader.u32("attest.pcrSelect");
  if (count > BANKS_MAX) reader.fail("attest.pcrSelect", `${count} banks`);
  const selections = Array.from({ length: count }, () => decodeSelection(reader));
  const pcrDigest = reader.sized("attest.pcrDigest");
  reader.end("attest");
  return { qualifiedSigner, extraData, clock, resetCount, restartCount, safe: safe === 1, firmware, selections, pcrDigest };
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
  /** r ‖ s for ECDSA on P-256, nothing for another algorithm. */
  readonly raw: Bytes | undefined;
}

/** TPMT_SIGNATURE.  Only ECDSA is read to its end: nothing else is ever accepted. */
export function decodeSignature(bytes: Bytes): TpmSignature {
  const reader = new Reader(bytes);
  const alg = reader.u16("signature.sigAlg");
  const hash = reader.u16("signature.hash");
  if (alg !== ALG.ecdsa) {
    reader.sized("signature.sig");
    if (reader.left > 0) reader.sized("signature.sig");
    reader.end("signature");
    return { alg, hash, raw: undefined };
  }
  const [r, s] = ["signature.r", "signature.s"].map((field) => {
    const value = reader.sized(field);
    if (value.length > 32) reader.fail(field, `${value.length} bytes; P-256 has 32`);
    return fitted(value, 32) ?? value;
  });
  reader.end("signature");
  return { alg, hash, raw: r && s ? concat(r, s) : undefined };
}

/** Hashes through WebCrypto; `Digest` is handed to whoever needs one, so that Node 18 and browsers look alike. */
export async function digest(subtle: SubtleCrypto, name: string, ...parts: readonly Uint8Array[]): Promise<Bytes> {
  return new Uint8Array(await subtle.digest(name, concat(...parts)));
}

/** TPM Name of a public area: nameAlg ‖ H(TPMT_PUBLIC); nothing for a hash that names no key here. */
export async function tpmName(subtle: SubtleCrypto, nameAlg: number, publicArea: Bytes): Promise<Bytes | undefined> {
  const hash = nameAlg === ALG.sha1 ? undefined : HASHES.get(nameAlg);
  return hash && concat(u16be(nameAlg), await digest(subtle, hash.name, publicArea));
}
