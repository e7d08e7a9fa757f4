// DER as certificates use it: tags of one byte, definite lengths.  Lengths and numbers with needless zeros are let
// through in certificates, since some TPM makers write them; the signature is over the raw bytes either way.  Inside bit
// strings (keys, signatures, key usage) nobody needs that: `strict`.

import { FormatError, Reader, type Bytes } from "./bytes.js";

export interface Der {
  readonly tag: number;
  readonly body: Bytes;
  /** Tag, length and body. */
  readonly whole: Bytes;
  /** Where the body begins. */
  readonly at: number;
}

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  printable: 0x13,
  teletex: 0x14,
  ia5: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  bmp: 0x1e,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Universal tags that occur in X.509: also NULL, REAL, ENUMERATED, and the numeric, videotex, visible and BMP strings. */
const UNIVERSAL = new Set<number>([...Object.values(TAG), 0x05, 0x09, 0x0a, 0x12, 0x15, 0x1a]);

/** Items that one level may hold: some makers' revocation lists have a few hundred thousand. */
const ITEMS_MAX = 1_000_000;

/** The item that `bytes` consists of. */
export function derDocument(bytes: Bytes, field: string, strict = false): Der {
  const [item, ...rest] = derItems(bytes, 0, field, strict);
  if (item === undefined || rest.length > 0) throw new FormatError(field, 0, "not one DER item");
  return item;
}

/** The items that `body` is made of. */
export function derItems(body: Bytes, at: number, field: string, strict = false): Der[] {
  const reader = new Reader(body, at);
  const items: Der[] = [];
  while (reader.left > 0) {
    if (items.length >= ITEMS_MAX) reader.fail(field, `more than ${ITEMS_MAX} items`);
    items.push(derItem(reader, body, at, field, strict));
  }
  return items;
}

function derItem(reader: Reader, all: Bytes, base: number, field: string, strict: boolean): Der {
  const from = reader.offset - base;
  const tag = reader.u8(field);
  if (tag < 0x40 && !UNIVERSAL.has(tag)) reader.fail(field, `tag 0x${tag.toString(16)}, which X.509 does not use`);
  if ((tag & 0x1f) === 0x1f) reader.fail(field, "tag of more than one byte");
  let length = reader.u8(field);
  if (length > 0x80) {
    const digits = length & 0x7f;
    if (digits > 4) reader.fail(field, "length of more than four bytes");
    length = 0;
    for (let left = digits; left > 0; left--) length = length * 256 + reader.u8(field);
    if (strict && length < (digits === 1 ? 0x80 : 256 ** (digits - 1))) reader.fail(field, "a length with needless zeros");
  } else if (length === 0x80) {
    reader.fail(field, "indefinite length");
  }
  const at = reader.offset;
  const body = reader.take(length, field);
  return { tag, body, at, whole: all.subarray(from, reader.offset - base) };
}

/** What a constructed item holds, if it has the wanted tag. */
export function inside(item: Der | undefined, tag: number, field: string, strict = false): Der[] {
  return derItems(want(item, tag, field).body, item?.at ?? 0, field, strict);
}

/** The same of an item with at least so many parts, and at most. */
export function parts(item: Der | undefined, tag: number, field: string, least: number, most: number): Der[] {
  const found = inside(item, tag, field);
  if (found.length < least || found.length > most) throw new FormatError(field, item?.at ?? 0, `${found.length} parts`);
  return found;
}

export function want(item: Der | undefined, tag: number, field: string): Der {
  if (item === undefined) throw new FormatError(field, 0, "missing");
  if (item.tag !== tag) throw new FormatError(field, item.at, `tag 0x${item.tag.toString(16)} instead of 0x${tag.toString(16)}`);
  return item;
}

const OID_BYTES_MAX = 39;
/** 2.39 */
const ROOT_MAX = 119;
const ARC_MAX = 0xffff_ffffn;

/** Dotted form of an object identifier. */
export function oid(item: Der | undefined, field: string): string {
  const { body, at } = want(item, TAG.oid, field);
  // From three arcs up; the first two are one byte.
  if (body.length < 3 || body.length > OID_BYTES_MAX || (body[0] ?? 0) > ROOT_MAX) throw new FormatError(field, at, "object identifier of a wrong length");
  const arcs: bigint[] = [];
  let arc = 0n;
  body.forEach((byte, index) => {
    arc = (arc << 7n) | BigInt(byte & 0x7f);
    if ((byte & 0x80) !== 0) {
      if (index === body.length - 1) throw new FormatError(field, at, "object identifier cut off");
      return;
    }
    if (arc > ARC_MAX) throw new FormatError(field, at, "object identifier with a number above 32 bits");
    if (arcs.length === 0) {
      const root = arc < 40n ? 0n : arc < 80n ? 1n : 2n;
      arcs.push(root, arc - 40n * root);
    } else {
      arcs.push(arc);
    }
    arc = 0n;
  });
  return arcs.join(".");
}

/** Bits of a BIT STRING, first bit first. */
export function bits(item: Der, field: string): boolean[] {
  const { body, at } = want(item, TAG.bits, field);
  const unused = body[0] ?? 8;
  if (unused > 7 || (body.length === 1 && unused > 0)) throw new FormatError(field, at, "malformed bit string");
  const count = Math.min(8 * (body.length - 1) - unused, 256);
  return Array.from({ length: Math.max(count, 0) }, (_, bit) => (((body[1 + (bit >>> 3)] ?? 0) >>> (7 - (bit & 7))) & 1) === 1);
}
