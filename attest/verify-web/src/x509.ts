// X.509 certificates as far as endorsement keys and their makers need them.  TPM makers write subjectAltName as
// critical, leave subjects empty and let certificates end in the year 9999: all of that is normal here.

import { FormatError, toHex, type Bytes } from "./bytes.js";
import { bits, derDocument, derItems, inside, oid, parts, TAG, want, type Der } from "./der.js";

export type CertificateKey =
  | { readonly kind: "rsa"; readonly modulus: Bytes; readonly exponent: Bytes }
  | { readonly kind: "ecc"; readonly curve: string; readonly point: Bytes }
  | { readonly kind: "other"; readonly algorithm: string };

/** One attribute of a name; `folded` is what names are compared by. */
interface NamePart {
  readonly type: string;
  /** For people. */
  readonly text: string;
  /** Whether it is of one of the string types that names have. */
  readonly isText: boolean;
  readonly folded: string;
}

/** Relative distinguished names, each a set, and what names are compared by. */
export interface Name {
  readonly sets: readonly (readonly NamePart[])[];
  readonly key: string;
}

/** Name and parameters, in hex after their tag: needless zeros around them make no other algorithm. */
export interface Algorithm {
  readonly name: string;
  readonly parameters: string;
}

/** What is signed: the signed part, both notes of the algorithm, and the signature. */
export interface Signed {
  readonly tbs: Bytes;
  readonly innerAlgorithm: Algorithm;
  readonly outerAlgorithm: Algorithm;
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
  /** Extensions that should be read here, and cannot be. */
  readonly unreadable: ReadonlySet<string>;
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
  const { parts: all, ...signed } = signedParts(der, field);
  if (all[0]?.tag === 0xa0) version(all.shift(), `${field}.version`);
  const [serial, , issuer, validity, subject, spki, ...optional] = all;
  const [notBefore, notAfter] = parts(validity, TAG.sequence, `${field}.validity`, 2, 2);
  return {
    der,
    ...signed,
    serial: parseSerial(serial, `${field}.serial`),
    issuer: parseName(issuer, `${field}.issuer`),
    subject: parseName(subject, `${field}.subject`),
    notBefore: parseTime(notBefore, `${field}.notBefore`),
    notAfter: parseTime(notAfter, `${field}.notAfter`),
    key: parseKey(spki, `${field}.key`),
    ...parseExtensions(extensionsOf(optional, field), field),
  };
}

function version(wrapper: Der | undefined, field: string): void {
  const [number, ...more] = inside(wrapper, 0xa0, field);
  const digits = unsigned(number, field);
  if (more.length > 0 || digits.length > 1 || (digits[0] ?? 0) > 2) throw new FormatError(field, number?.at ?? 0, "not 1, 2 or 3");
}

const SERIAL_BYTES_MAX = 21;

/** Hex of a number as a certificate writes it, without needless zeros: lists of revoked ones may write it shorter. */
export function parseSerial(item: Der | undefined, field: string): string {
  const { body, at } = want(item, TAG.integer, field);
  let start = 0;
  while (body[start] === 0 && (body[start + 1] ?? 0xff) < 0x80) start++;
  const digits = body.subarray(start);
  const negativeTwice = digits[0] === 0xff && (digits[1] ?? 0) >= 0x80;
  if (digits.length === 0 || digits.length > SERIAL_BYTES_MAX || negativeTwice) throw new FormatError(field, at, "no serial number");
  return toHex(digits);
}

/** What follows the key: two unique ids that nobody uses, and the extensions, in this order. */
function extensionsOf(optional: readonly Der[], field: string): Der | undefined {
  let last = 0x80;
  for (const { tag, at, body } of optional) {
    const number = tag & 0x9f;
    const known = tag === 0x81 || tag === 0x82 || tag === 0xa3;
    if (!known || number <= last) throw new FormatError(field, at, "an unknown part");
    if (tag !== 0xa3 && ((body[0] ?? 8) > 7 || (body.length === 1 && body[0] !== 0))) throw new FormatError(field, at, "malformed bit string");
    last = number;
  }
  return optional.find(({ tag }) => tag === 0xa3);
}

/** The parts that every signed X.509 document has. */
export function signedParts(der: Bytes, field: string): Signed & { readonly parts: Der[] } {
  const [tbs, outer, signature] = parts(derDocument(der, field), TAG.sequence, field, 3, 3);
  const all = inside(tbs, TAG.sequence, `${field}.tbs`);
  return {
    parts: all,
    tbs: want(tbs, TAG.sequence, field).whole,
    outerAlgorithm: parseAlgorithm(outer, `${field}.signatureAlgorithm`),
    // The first sequence in a certificate and in a revocation list alike.
    innerAlgorithm: parseAlgorithm(all.find((part) => part.tag === TAG.sequence), `${field}.signature`),
    signature: wholeBytes(signature, `${field}.signature`) ?? new Uint8Array(),
  };
}

function parseAlgorithm(item: Der | undefined, field: string): Algorithm {
  const [name, parameters] = parts(item, TAG.sequence, field, 1, 2);
  return { name: oid(name, field), parameters: parameters ? `${parameters.tag}:${toHex(parameters.body)}` : "" };
}

/** Bytes of a bit string; nothing if it has unused bits, which neither keys nor signatures have. */
function wholeBytes(item: Der | undefined, field: string): Bytes | undefined {
  const value = want(item, TAG.bits, field);
  bits(value, field);
  return value.body[0] === 0 ? value.body.subarray(1) : undefined;
}

const RSA_BYTES_MIN = 256;
const RSA_BYTES_MAX = 512;

function parseKey(spki: Der | undefined, field: string): CertificateKey {
  const [algorithm, key] = parts(spki, TAG.sequence, field, 2, 2);
  const [kind, parameters] = parts(algorithm, TAG.sequence, field, 1, 2);
  const name = oid(kind, field);
  const bytes = wholeBytes(key, field);
  const other: CertificateKey = { kind: "other", algorithm: name };
  if (bytes === undefined) return other;
  // A key that cannot be read is nobody's; the certificate is read all the same.
  try {
    if (name === OID_RSA) {
      const [modulus, exponent, ...more] = inside(derDocument(bytes, field, true), TAG.sequence, field, true);
      const [n, e] = [unsigned(modulus, field, true), unsigned(exponent, field, true)];
      const sized = n.length >= RSA_BYTES_MIN && n.length <= RSA_BYTES_MAX;
      return sized && more.length === 0 ? { kind: "rsa", modulus: n, exponent: e } : other;
    }
    const curve = name === OID_EC && parameters?.tag === TAG.oid ? OID_CURVES.get(oid(parameters, field)) : undefined;
    return curve === undefined ? other : { kind: "ecc", curve, point: bytes };
  } catch (error) {
    if (error instanceof FormatError) return other;
    throw error;
  }
}

/** Digits of a positive INTEGER without leading zeros. */
export function unsigned(item: Der | undefined, field: string, strict = false): Bytes {
  const { body, at } = want(item, TAG.integer, field);
  if (body.length === 0 || (body[0] ?? 0) > 0x7f) throw new FormatError(field, at, "not a positive number");
  if (strict && body.length > 1 && body[0] === 0 && (body[1] ?? 0) < 0x80) throw new FormatError(field, at, "a number with needless zeros");
  let start = 0;
  while (start < body.length && body[start] === 0) start++;
  return body.subarray(start);
}

export function parseName(item: Der | undefined, field: string): Name {
  const sets = inside(item, TAG.sequence, field).map((set) => {
    const pairs = inside(set, TAG.set, field);
    if (new Set(pairs.map(({ whole }) => toHex(whole))).size < pairs.length) throw new FormatError(field, set.at, "an attribute twice");
    return pairs.map((pair) => {
      const [type, value] = parts(pair, TAG.sequence, field, 2, 2);
      const read = value && nameText(value);
      const raw = `#${value?.tag.toString(16) ?? ""}:${toHex(value?.body ?? new Uint8Array())}`;
      const isText = read !== undefined;
      return { type: oid(type, field), text: read ?? raw, isText, folded: isText ? `=${fold(read)}` : raw };
    });
  });
  return { sets, key: JSON.stringify(sets.map((set) => set.map((part) => part.type + part.folded).sort())) };
}

/** Text of a directory string of any type; nothing of other types, or of text that is none. */
function nameText(value: Der): string | undefined {
  const decoded = (encoding: string): string | undefined => {
    try {
      return new TextDecoder(encoding, { fatal: true, ignoreBOM: true }).decode(value.body);
    } catch {
      return undefined;
    }
  };
  switch (value.tag) {
    case TAG.utf8:
      return decoded("utf-8");
    case TAG.bmp:
      return decoded("utf-16be");
    case TAG.printable:
    case TAG.teletex:
    case TAG.ia5:
      return Array.from(value.body, (byte) => String.fromCharCode(byte)).join("");
    default:
      return undefined;
  }
}

/** Names are equal without regard to case and to the number of spaces (RFC 5280, 7.1). */
function fold(text: string): string {
  return text.replace(/^ +| +$/g, "").replace(/ +/g, " ").replace(/[A-Z]/g, (letter) => letter.toLowerCase());
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
  if (back.getUTCMonth() + 1 !== month || back.getUTCDate() !== day || (hour ?? 0) > 23 || (minute ?? 0) > 59 || (second ?? 0) > 59 || whole < 1970) {
    throw new FormatError(field, item.at, "no such time");
  }
  return when / 1000;
}

type Extensions = Pick<
  Certificate,
  "ca" | "pathLength" | "keyUsage" | "extendedKeyUsage" | "altNames" | "critical" | "unreadable"
>;

/** Those that are read here; each of them that cannot be is for whoever needs it to object to. */
function parseExtensions(wrapper: Der | undefined, field: string): Extensions {
  const found = { ca: false, pathLength: undefined as number | undefined, keyUsage: undefined as boolean[] | undefined };
  const extendedKeyUsage: string[] = [];
  const altNames = new Map<string, string>();
  const critical: string[] = [];
  const seen = new Set<string>();
  const unreadable = new Set<string>();
  const readers = new Map<string, (value: Der) => void>([
    [EXTENSION.basicConstraints, (value) => Object.assign(found, basicConstraints(only(value, field), field))],
    [EXTENSION.keyUsage, (value) => (found.keyUsage = bits(derDocument(value.body, field, true), `${field}.keyUsage`))],
    [EXTENSION.extendedKeyUsage, (value) => inside(only(value, field), TAG.sequence, field).forEach((usage) => extendedKeyUsage.push(oid(usage, field)))],
    [EXTENSION.altName, (value) => directoryNames(only(value, field), altNames, field)],
  ]);
  const [list] = wrapper ? parts(wrapper, 0xa3, field, 1, 1) : [];
  for (const extension of list ? inside(list, TAG.sequence, field) : []) {
    const { name, isCritical, value } = parseExtension(extension, `${field}.extension`);
    if (isCritical) critical.push(name);
    try {
      if (seen.has(name)) throw new FormatError(field, extension.at, `${name} twice`);
      readers.get(name)?.(value);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      unreadable.add(name);
    }
    seen.add(name);
  }
  if (unreadable.has(EXTENSION.altName)) altNames.clear();
  return { ...found, extendedKeyUsage, altNames, critical, unreadable };
}

function parseExtension(extension: Der, field: string): { name: string; isCritical: boolean; value: Der } {
  const all = parts(extension, TAG.sequence, field, 2, 3);
  const name = oid(all[0], field);
  const flag = all.length === 3 ? want(all[1], TAG.boolean, field) : undefined;
  if (flag !== undefined && flag.body.length !== 1) throw new FormatError(field, flag.at, "neither true nor false");
  return { name, isCritical: (flag?.body[0] ?? 0) !== 0, value: want(all[all.length - 1], TAG.octets, field) };
}

/** The one item in an extension's value. */
function only(value: Der, field: string): Der {
  const [item, ...rest] = derItems(value.body, value.at, field);
  if (item === undefined || rest.length > 0) throw new FormatError(field, value.at, "not one item");
  return item;
}

function basicConstraints(item: Der, field: string): { ca: boolean; pathLength: number | undefined } {
  const all = parts(item, TAG.sequence, `${field}.basicConstraints`, 0, 2);
  const flag = all[0]?.tag === TAG.boolean ? all.shift() : undefined;
  if (flag !== undefined && flag.body.length !== 1) throw new FormatError(field, flag.at, "neither true nor false");
  const ca = (flag?.body[0] ?? 0) !== 0;
  const [length, ...more] = all;
  if (length === undefined) return { ca, pathLength: undefined };
  const digits = unsigned(length, `${field}.pathLength`);
  if (digits.length > 1 || more.length > 0) throw new FormatError(`${field}.pathLength`, length.at, "above 255");
  return { ca, pathLength: digits[0] ?? 0 };
}

const SHOWN_MAX = 64;

/** Attributes of every directoryName, [4] EXPLICIT Name. */
function directoryNames(item: Der, into: Map<string, string>, field: string): void {
  for (const general of inside(item, TAG.sequence, `${field}.altName`)) {
    if (general.tag !== 0xa4) continue;
    const [name] = parts(general, 0xa4, `${field}.altName`, 1, 1);
    for (const part of parseName(name, `${field}.altName`).sets.flat().filter(({ isText }) => isText)) {
      into.set(part.type, [...part.text.replace(/\p{Cc}/gu, "")].slice(0, SHOWN_MAX).join(""));
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
