// RLP, as block headers, receipts and the nodes of their trees are written in; every item in its shortest form.

import { FormatError, Reader, type Bytes } from "./bytes.js";

export interface RlpItem {
  readonly isList: boolean;
  readonly body: Bytes;
}

/** The next item. */
export function rlpItem(reader: Reader, field: string): RlpItem {
  const first = reader.u8(field);
  if (first < 0x80) return { isList: false, body: Uint8Array.of(first) };
  const isList = first >= 0xc0;
  let length = first - (isList ? 0xc0 : 0x80);
  if (length > 55) {
    const digits = reader.take(length - 55, field);
    const long = rlpInteger(digits, field);
    if (long <= 55n || long > BigInt(reader.left)) reader.fail(field, `a length of ${long}`);
    length = Number(long);
  }
  const body = reader.take(length, field);
  if (!isList && length === 1 && (body[0] ?? 0) < 0x80) reader.fail(field, "a byte that stands for itself");
  return { isList, body };
}

/** The items of a list's body, at most so many. */
export function rlpItems(body: Bytes, field: string, most: number): RlpItem[] {
  const reader = new Reader(body);
  const items: RlpItem[] = [];
  while (reader.left > 0) {
    if (items.length >= most) reader.fail(field, `more than ${most} items`);
    items.push(rlpItem(reader, field));
  }
  return items;
}

/** The items of the one list that the bytes are. */
export function rlpList(bytes: Bytes, field: string, most: number): RlpItem[] {
  const reader = new Reader(bytes);
  const list = rlpItem(reader, field);
  reader.end(field);
  if (!list.isList) throw new FormatError(field, 0, "not a list");
  return rlpItems(list.body, field, most);
}

/** A string, of a given length where there is one. */
export function rlpBytes(item: RlpItem | undefined, field: string, length?: number): Bytes {
  if (item === undefined || item.isList) throw new FormatError(field, 0, "not a string");
  if (length !== undefined && item.body.length !== length) throw new FormatError(field, 0, `${item.body.length} bytes instead of ${length}`);
  return item.body;
}

/** A number without leading zeros, below 2^64. */
export function rlpInteger(digits: Bytes, field: string): bigint {
  if (digits.length > 8 || digits[0] === 0) throw new FormatError(field, 0, "not an integer");
  return digits.reduce((sum, digit) => (sum << 8n) | BigInt(digit), 0n);
}
