// Block headers of an EVM chain: the Keccak-256 of a header is its block's hash, so whoever has the header knows when
// the hash came into the world, and that the quote which answers it is younger.

import { FormatError, type Bytes } from "./bytes.js";
import { keccak256 } from "./keccak.js";
import { rlpBytes, rlpInteger, rlpList } from "./rlp.js";

export interface Header {
  readonly hash: Bytes;
  readonly receiptsRoot: Bytes;
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
const RECEIPTS_ROOT = 5;
const NUMBER = 8;
const TIME = 11;

export function parseHeader(rlp: Bytes, field = "header"): Header {
  if (rlp.length > HEADER_BYTES_MAX) throw new FormatError(field, HEADER_BYTES_MAX, `${rlp.length} bytes`);
  const fields = rlpList(rlp, field, FIELDS_MAX).map((item) => rlpBytes(item, field));
  const [root, number, time] = [fields[RECEIPTS_ROOT], fields[NUMBER], fields[TIME]];
  const odd = LENGTHS.some((length, at) => fields[at]?.length !== length);
  if (fields.length < FIELDS_MIN || odd || !root || !number || !time) throw new FormatError(field, 0, "not the fields of a header");
  return { hash: keccak256(rlp), receiptsRoot: root, number: rlpInteger(number, field), time: rlpInteger(time, field) };
}
