// X.509 certificates as far as endorsement keys and their makers need them.  TPM makers write subjectAltName as
// critical, leave subjects empty and let certificates end in the year 9999: all of that is normal here.

import { FormatError, toHex, type Bytes } from "./bytes.js";
import { bitBytes, bits, derDocument, derItems, inside, oid, TAG, want, type Der } from "./der.js";

export type CertificateKey =
  | { readonly kind: "rsa"; readonly modulus: Bytes; readonly exponent: Bytes }
  | { readonly kind: "ecc"; readonly curve: string; readonly point: Bytes }
  | { readonly kind: "other"; readonly algorithm: string };

/** One attribute of a name; `folded` is what names are compared by. */
interface NamePart {
  readonly type: string;
  readonly text: string;
  readonly folded: string;
}

/** Relative distinguished names, each a set, and what names are compared by. */
export interface Name {
  readonly sets: readonly (readonly NamePart[])[];
  readonly key: string;
}

/** What is signed: the signed part, both notes of the algorithm, and the signature. */
export interface Signed {
  readonly tbs: Bytes;
  readonly innerAlgorithm: Bytes;
  readonly outerAlgorithm: Bytes;
  readonly signatureAlgorithm: string;
  readonly signature: Bytes;
}

export interface Certificate extends Signed {
  readonly der: Bytes;
  readonly serial: string;
  readonly issuer: Name;
  readonly subject: Name;
  /** Seconds since 1970. */
  readonly notBefore: number;
  /** Seconds since 1970; Infinity for a certificate without end. */
  readonly notAfter: number;
  readonly key: CertificateKey;
  /** Basic constraints; without them `ca` is false. */
  readonly ca: boolean;
  readonly pathLength: number | undefined;
  /** Key usage bits, first bit first; nothing without the extension. */
  readonly keyUsage: readonly boolean[] | undefined;
  readonly extendedKeyUsage: readonly string[];
  /** Attributes of the directory names in subjectAltName. */
  readonly altNames: ReadonlyMap<string, string>;
  /** Critical extensions, known or not. */
  readonly critical: readonly string[];
}

export const EXTENSION = {
  keyUsage: "2.5.29.15",
  altName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  extendedKeyUsage: "2.5.29.37",
} as const;

/**
 * Critical extensions that are judged here or ask nothing of a reader of endorsement certificates:
 * subjectDirectoryAttributes, keyUsage, subjectAltName, basicConstraints, CRL points, policies, extendedKeyUsage.
 */
export const KNOWN_CRITICAL = new Set(
  ["2.5.29.9", "2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.31", "2.5.29.32", "2.5.29.37"],
);

const OID_RSA = "1.2.840.113549.1.1.1";
const OID_EC = "1.2.840.10045.2.1";
const OID_CURVES: ReadonlyMap<string, string> = new Map([
  ["1.2.840.10045.3.1.7", "P-256"],
  ["1.3.132.0.34", "P-384"],
  ["1.3.132.0.35", "P-521"],
]);

/** Larger certificates are none. */
const CERTIFICATE_BYTES_MAX = 16 * 1024;

export function parseCertificate(der: Bytes, field: string): Certificate {
  if (der.length > CERTIFICATE_BYTES_MAX) throw new FormatError(field, CERTIFICATE_BYTES_MAX, `${der.length} bytes`);
  const { parts, ...signed } = signedParts(der, field);
  if (parts[0]?.tag === 0xa0) parts.shift();
  const [serial, , issuer, validity, subject, spki, ...optional] = parts;
  const [notBefore, notAfter] = inside(validity, TAG.sequence, `${field}.validity`);
  return {
    der,
    ...signed,
    serial: toHex(want(serial, TAG.integer, `${field}.serial`).body),
    issuer: parseName(issuer, `${field}.issuer`),
    subject: parseName(subject, `${field}.subject`),
    notBefore: parseTime(notBefore, `${field}.notBefore`),
    notAfter: parseTime(notAfter, `${field}.notAfter`),
    key: parseKey(spki, `${field}.key`),
    ...parseExtensions(optional.find((part) => part.tag === 0xa3), field),
  };
}

/** The parts that every signed X.509 document has. */
export function signedParts(der: Bytes, field: string): Signed & { readonly parts: Der[] } {
  const [tbs, outer, signature, ...more] = inside(derDocument(der, field), TAG.sequence, field);
  if (more.length > 0) throw new FormatError(field, 0, "more than three parts");
  const [algorithm] = inside(outer, TAG.sequence, `${field}.signatureAlgorithm`);
  const parts = inside(tbs, TAG.sequence, `${field}.tbs`);
  return {
    parts,
    tbs: want(tbs, TAG.sequence, field).whole,
    outerAlgorithm: want(outer, TAG.sequence, `${field}.algorithm`).whole,
    // The first sequence in a certificate and in a revocation list alike.
    innerAlgorithm: want(parts.find((part) => part.tag === TAG.sequence), TAG.sequence, `${field}.algorithm`).whole,
    signatureAlgorithm: oid(algorithm, `${field}.signatureAlgorithm`),
    signature: bitBytes(signature, `${field}.signature`),
  };
}

function parseKey(spki: Der | undefined, field: string): CertificateKey {
  const [algorithm, key] = inside(spki, TAG.sequence, field);
  const [kind, parameters] = inside(algorithm, TAG.sequence, field);
  const name = oid(kind, field);
  const bytes = bitBytes(key, field);
  if (name === OID_RSA) {
    const [modulus, exponent] = inside(derDocument(bytes, field), TAG.sequence, field);
    return { kind: "rsa", modulus: unsigned(modulus, field), exponent: unsigned(exponent, field) };
  }
  const curve = name === OID_EC && parameters?.tag === TAG.oid ? OID_CURVES.get(oid(parameters, field)) : undefined;
  return curve === undefined ? { kind: "other", algorithm: name } : { kind: "ecc", curve, point: bytes };
}

/** Digits of a positive INTEGER without leading zeros. */
export function unsigned(item: Der | undefined, field: string): Bytes {
  const { body, at } = want(item, TAG.integer, field);
  if (body.length === 0 || (body[0] ?? 0) > 0x7f) throw new FormatError(field, at, "not a positive number");
  let start = 0;
  while (start < body.length && body[start] === 0) start++;
  return body.subarray(start);
}

export function parseName(item: Der | undefined, field: string): Name {
  const sets = inside(item, TAG.sequence, field).map((set) =>
    inside(set, TAG.set, field).map((pair) => {
      const [type, value] = inside(pair, TAG.sequence, field);
      const text = value === undefined ? "" : nameText(value);
      return { type: oid(type, field), text, folded: fold(text) };
    }),
  );
  return { sets, key: JSON.stringify(sets.map((set) => set.map((part) => `${part.type}=${part.folded}`).sort())) };
}

/** Text of a directory string of any type; other types keep their bytes. */
function nameText(value: Der): string {
  switch (value.tag) {
    case TAG.utf8:
      return new TextDecoder("utf-8").decode(value.body);
    case TAG.bmp:
      return new TextDecoder("utf-16be").decode(value.body);
    case TAG.printable:
    case TAG.teletex:
    case TAG.ia5:
      return Array.from(value.body, (byte) => String.fromCharCode(byte)).join("");
    default:
      return `#${toHex(value.whole)}`;
  }
}

/** Names are equal without regard to case and to the number of spaces (RFC 5280, 7.1). */
function fold(text: string): string {
  return text.trim().replace(/\s+/g, " ").toLowerCase();
}

export function sameName(a: Name, b: Name): boolean {
  return a.key === b.key;
}

const SHORT_TYPES: ReadonlyMap<string, string> = new Map([
  ["2.5.4.3", "CN"],
  ["2.5.4.5", "serialNumber"],
  ["2.5.4.6", "C"],
  ["2.5.4.7", "L"],
  ["2.5.4.8", "ST"],
  ["2.5.4.10", "O"],
  ["2.5.4.11", "OU"],
]);

/** A name for people, last part first as usual. */
export function showName(name: Name): string {
  const parts = name.sets.flat().map((part) => `${SHORT_TYPES.get(part.type) ?? part.type}=${part.text}`);
  return parts.length === 0 ? "without a name" : parts.reverse().join(",");
}

/** 9999-12-31T23:59:59Z: RFC 5280's word for "no end". */
const NO_END = "99991231235959Z";

export function parseTime(item: Der | undefined, field: string): number {
  if (item?.tag !== TAG.utcTime && item?.tag !== TAG.generalizedTime) throw new FormatError(field, item?.at ?? 0, "no time");
  const text = Array.from(item.body.subarray(0, 32), (byte) => String.fromCharCode(byte)).join("");
  const short = item.tag === TAG.utcTime;
  const digits = /^(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/.exec(text);
  if (digits === null || (digits[1]?.length === 2) !== short) throw new FormatError(field, item.at, "malformed time");
  if (text === NO_END) return Number.POSITIVE_INFINITY;
  const [year, month, day, hour, minute, second] = digits.slice(1).map(Number);
  const whole = short ? (year ?? 0) + ((year ?? 0) < 50 ? 2000 : 1900) : (year ?? 0);
  const when = Date.UTC(whole, (month ?? 0) - 1, day, hour, minute, second);
  const back = new Date(when);
  if (back.getUTCMonth() + 1 !== month || back.getUTCDate() !== day || (hour ?? 0) > 23 || (minute ?? 0) > 59) {
    throw new FormatError(field, item.at, "no such time");
  }
  return when / 1000;
}

type Extensions = Pick<
  Certificate,
  "ca" | "pathLength" | "keyUsage" | "extendedKeyUsage" | "altNames" | "critical"
>;

function parseExtensions(wrapper: Der | undefined, field: string): Extensions {
  const found = { ca: false, pathLength: undefined as number | undefined, keyUsage: undefined as boolean[] | undefined };
  const extendedKeyUsage: string[] = [];
  const altNames = new Map<string, string>();
  const critical: string[] = [];
  const seen = new Set<string>();
  const list = wrapper ? derItems(wrapper.body, wrapper.at, field)[0] : undefined;
  for (const extension of list ? inside(list, TAG.sequence, field) : []) {
    const parts = inside(extension, TAG.sequence, `${field}.extension`);
    const name = oid(parts[0], `${field}.extension`);
    if (seen.has(name)) throw new FormatError(`${field}.extension`, extension.at, `${name} twice`);
    seen.add(name);
    if (parts[1]?.tag === TAG.boolean && parts[1].body[0] !== 0) critical.push(name);
    const value = want(parts[parts.length - 1], TAG.octets, `${field}.${name}`);
    const inner = (): Der => {
      const [item, ...rest] = derItems(value.body, value.at, `${field}.${name}`);
      if (item === undefined || rest.length > 0) throw new FormatError(`${field}.${name}`, value.at, "not one item");
      return item;
    };
    if (name === EXTENSION.basicConstraints) Object.assign(found, basicConstraints(inner(), field));
    if (name === EXTENSION.keyUsage) found.keyUsage = bits(inner(), `${field}.keyUsage`);
    if (name === EXTENSION.extendedKeyUsage) {
      for (const usage of inside(inner(), TAG.sequence, field)) extendedKeyUsage.push(oid(usage, field));
    }
    if (name === EXTENSION.altName) directoryNames(inner(), altNames, field);
  }
  return { ...found, extendedKeyUsage, altNames, critical };
}

function basicConstraints(item: Der, field: string): { ca: boolean; pathLength: number | undefined } {
  const parts = inside(item, TAG.sequence, `${field}.basicConstraints`);
  const ca = parts[0]?.tag === TAG.boolean && parts[0].body[0] !== 0;
  const length = parts.find((part) => part.tag === TAG.integer);
  if (length === undefined) return { ca, pathLength: undefined };
  const digits = unsigned(length, `${field}.pathLength`);
  return { ca, pathLength: digits.length > 2 ? 0xffff : digits.reduce((sum, byte) => 256 * sum + byte, 0) };
}

/** Attributes of every directoryName, [4] EXPLICIT Name. */
function directoryNames(item: Der, into: Map<string, string>, field: string): void {
  for (const general of inside(item, TAG.sequence, `${field}.altName`)) {
    if (general.tag !== 0xa4) continue;
    const [name] = derItems(general.body, general.at, `${field}.altName`);
    for (const part of parseName(name, `${field}.altName`).sets.flat()) {
      into.set(part.type, part.text);
    }
  }
}

/** One block of a PEM file: its bytes, or why it has none. */
export type PemBlock = { readonly der: Bytes } | { readonly wrong: string };

/** Blocks of a PEM file, in its order; text around them is ignored, as it always is.  A block without its end is an error. */
export function pemBlocks(text: string, label: string, name: string): PemBlock[] {
  return text.split(`-----BEGIN ${label}-----`).slice(1).map((block, index) => {
    const end = block.indexOf(`-----END ${label}-----`);
    if (end < 0) throw new FormatError(name, 0, `block ${index + 1} (${label}) has no end: the file was cut off`);
    const base64 = block.slice(0, end).replace(/\s+/g, "");
    if (!/^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(base64)) return { wrong: "not base64" };
    return { der: Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)) };
  });
}
