// Block headers of an EVM chain: the Keccak-256 of a header is its block's hash, so whoever has the header knows when
// the hash came into the world, and that the quote which answers it is younger.

import { FormatError, Reader, type Bytes } from "./bytes.js";
import { keccak256 } from "./keccak.js";

export interface Header {
  readonly hash: Bytes;
  readonly number: bigint;
  /** Seconds since 1970, as the proposer wrote. */
  readonly time: bigint;
}

/** Headers have 500 to 700 bytes and 15 to about 20 fields. */
const HEADER_BYTES_MAX = 4096;
const FIELDS_MIN = 15;
const FIELDS_MAX = 32;
/** parentHash, ommersHash, coinbase, stateRoot, transactionsRoot, receiptsRoot, logsBloom (Yellow Paper, 4.3). */
const LENGTHS = [32, 32, 20, 32, 32, 32, 256];
const NUMBER = 8;
const TIME = 11;

export function parseHeader(rlp: Bytes, field = "header"): Header {
  const reader = new Reader(rlp);
  if (rlp.length > HEADER_BYTES_MAX) reader.fail(field, `${rlp.length} bytes`);
  const list = item(reader, field);
  reader.end(field);
  if (!list.isList) throw new FormatError(field, 0, "not a list");
  const inside = new Reader(list.body);
  const fields: Bytes[] = [];
  while (inside.left > 0) {
    const part = item(inside, field);
    if (part.isList || fields.length >= FIELDS_MAX) inside.fail(field, "not a header's field");
    fields.push(part.body);
  }
  if (fields.length < FIELDS_MIN || LENGTHS.some((length, at) => fields[at]?.length !== length)) {
    throw new FormatError(field, 0, "not the fields of a header");
  }
  return { hash: keccak256(rlp), number: integer(fields[NUMBER], field), time: integer(fields[TIME], field) };
}

/** One RLP item, in the only form it may have. */
function item(reader: Reader, field: string): { isList: boolean; body: Bytes } {
  const first = reader.u8(field);
  if (first < 0x80) return { isList: false, body: Uint8Array.of(first) };
  const isList = first >= 0xc0;
  let length = first - (isList ? 0xc0 : 0x80);
  if (length > 55) {
    const digits = reader.take(length - 55, field);
    const long = integer(digits, field);
    if (long <= 55n || long > BigInt(reader.left)) reader.fail(field, `a length of ${long}`);
    length = Number(long);
  }
  const body = reader.take(length, field);
  if (!isList && length === 1 && (body[0] ?? 0) < 0x80) reader.fail(field, "a byte that stands for itself");
  return { isList, body };
}

function integer(digits: Bytes | undefined, field: string): bigint {
  if (digits === undefined || digits.length > 8 || digits[0] === 0) throw new FormatError(field, 0, "not an integer");
  return digits.reduce((sum, digit) => (sum << 8n) | BigInt(digit), 0n);
}
