// The upper half of the sandwich (FORMAT.md, section 9): the registry that the TPM signed for named the hash of this file in an
// event, so the quote is older than the event's block.  The event is found by a walk from the header's receiptsRoot.

import { equal, FormatError, fromHex, toHex, type Bytes } from "./bytes.js";
import type { Target } from "./evidence.js";
import { parseHeader, type Header } from "./header.js";
import { keccak256 } from "./keccak.js";
import { rlpBytes, rlpInteger, rlpItems, rlpList } from "./rlp.js";

interface Publication {
  readonly header: Header;
  readonly transaction: bigint;
  readonly log: bigint;
  readonly proof: readonly Bytes[];
}

const FIELD = "publication";
const FILE_BYTES_MAX = 256 * 1024;
const NODES_MAX = 19;
const EVENTS_MAX = 8192;
const BRANCH_ITEMS = 17;
const RECEIPT_ITEMS_MAX = 6;
const BELOW = 1n << 64n;

/** Events that name evidence: topics they have, and the word of their data that is the hash. */
const EVENTS: ReadonlyMap<string, { readonly topics: number; readonly word: number }> = new Map([
  // NodeRegistered(bytes32,address,uint256,string,string,uint256,uint256,uint64,bytes32,bytes32)
  ["114ab6edbde1ea657173b8e9ed302be3a092f381a9d344962b7e46534defcb90", { topics: 4, word: 6 }],
  // EvidencePublished(bytes32,address,uint64,bytes32)
  ["1ad273beddc5366ccd46d1b72dfff538c42ac4e0a5c9a98b161a53520870309c", { topics: 3, word: 1 }],
]);

/** The header of the block in which `registry` published `evidence` for `node`, or a `FormatError`. */
export function checkPublication(file: Bytes, target: Target, node: Bytes, evidence: Bytes): Header {
  const publication = parse(file);
  const event = eventOf(receipt(publication), publication.log);
  if (!equal(event.address, target.registry)) fail(`an event of ${toHex(event.address)}, which is not the registry that was signed for`);
  const [name, of] = event.topics;
  const kind = name && EVENTS.get(toHex(name));
  if (kind === undefined || event.topics.length !== kind.topics) fail("not an event that names evidence");
  if (!of || !equal(of, node)) fail("the event is about another node");
  if (event.data.length % 32 !== 0) fail("the event's data are no whole words");
  if (!equal(event.data.subarray(32 * kind.word, 32 * kind.word + 32), evidence)) fail("the event names another file");
  return publication.header;
}

function fail(what: string): never {
  throw new FormatError(FIELD, 0, what);
}

/** One text for one publication: whatever else means the same is refused. */
const TEXT = /^\{"header":"0x([0-9a-f]*)","transaction":(0|[1-9][0-9]{0,19}),"log":(0|[1-9][0-9]{0,19}),"proof":\[([0-9a-fx",]*)\]\}$/;

function parse(file: Bytes): Publication {
  if (file.length > FILE_BYTES_MAX) throw new FormatError(FIELD, FILE_BYTES_MAX, `${file.length} bytes`);
  const found = TEXT.exec(new TextDecoder("latin1").decode(file));
  if (found === null) fail("not a publication's text");
  const [, header = "", transaction = "", log = "", list = ""] = found;
  const nodes = list === "" ? [] : list.split(",");
  if (nodes.length > NODES_MAX) fail(`${nodes.length} nodes`);
  return {
    header: parseHeader(hex(header), FIELD),
    transaction: below(transaction),
    log: below(log),
    proof: nodes.map((node) => hex(/^"0x([0-9a-f]*)"$/.exec(node)?.[1])),
  };
}

function hex(digits: string | undefined): Bytes {
  const bytes = digits === undefined ? undefined : fromHex(digits);
  return bytes ?? fail("not bytes in hex");
}

function below(digits: string): bigint {
  const number = BigInt(digits);
  return number < BELOW ? number : fail(`${digits} is too large`);
}

/** The receipt that the proof leads to, from the header's root by the transaction's index. */
function receipt({ header, transaction, proof }: Publication): Bytes {
  let key = halves(indexKey(transaction));
  let wanted = header.receiptsRoot;
  for (const [at, node] of proof.entries()) {
    if (!equal(keccak256(node), wanted)) fail(`node ${at} of the proof is not the one that was named`);
    const items = rlpList(node, FIELD, BRANCH_ITEMS);
    if (items.length === BRANCH_ITEMS) {
      const [half, ...rest] = key;
      if (half === undefined) fail("the key ends at a branch");
      wanted = rlpBytes(items[half], FIELD, 32);
      key = rest;
      continue;
    }
    if (items.length !== 2) fail(`node ${at} has ${items.length} items`);
    const { isLeaf, path } = pathOf(rlpBytes(items[0], FIELD));
    if (path.some((half, place) => key[place] !== half)) fail(`node ${at} leads elsewhere`);
    key = key.slice(path.length);
    if (isLeaf) {
      if (key.length > 0 || at !== proof.length - 1) fail("a leaf before the end");
      return rlpBytes(items[1], FIELD);
    }
    if (path.length === 0) fail(`node ${at} leads nowhere`);
    wanted = rlpBytes(items[1], FIELD, 32);
  }
  return fail("the proof ends before the receipt");
}

/** RLP of the index: zero is the empty string. */
function indexKey(index: bigint): Bytes {
  const digits: number[] = [];
  for (let left = index; left > 0n; left >>= 8n) digits.unshift(Number(left & 0xffn));
  const [first] = digits;
  if (digits.length === 1 && first !== undefined && first < 0x80) return Uint8Array.from(digits);
  return Uint8Array.of(0x80 + digits.length, ...digits);
}

function halves(bytes: Bytes): number[] {
  return [...bytes].flatMap((byte) => [byte >>> 4, byte & 0xf]);
}

function pathOf(bytes: Bytes): { isLeaf: boolean; path: number[] } {
  const [kind, second, ...rest] = halves(bytes);
  if (kind === undefined || second === undefined || kind > 3) fail("a node of no known kind");
  if (kind % 2 === 0 && second !== 0) fail("a path with something before it");
  return { isLeaf: kind >= 2, path: kind % 2 === 0 ? rest : [second, ...rest] };
}

interface Event {
  readonly address: Bytes;
  readonly topics: readonly Bytes[];
  readonly data: Bytes;
}

function eventOf(bytes: Bytes, log: bigint): Event {
  const typed = (bytes[0] ?? 0) >= 0x01 && (bytes[0] ?? 0) <= 0x7f;
  const items = rlpList(typed ? bytes.subarray(1) : bytes, FIELD, RECEIPT_ITEMS_MAX);
  const [status, gas, bloom, events] = items;
  if (items.length < 4 || !events?.isList) fail("not a receipt");
  if (!equal(rlpBytes(status, FIELD), Uint8Array.of(1))) fail("the transaction failed: its events never were");
  rlpInteger(rlpBytes(gas, FIELD), FIELD);
  rlpBytes(bloom, FIELD, 256);
  const all = rlpItems(events.body, FIELD, EVENTS_MAX);
  const event = log < BigInt(all.length) ? all[Number(log)] : undefined;
  if (event === undefined || !event.isList) fail(`no event ${log} in the receipt`);
  const [address, topics, data, ...more] = rlpItems(event.body, FIELD, 4);
  if (!topics?.isList || more.length > 0) fail("not an event");
  return {
    address: rlpBytes(address, FIELD, 20),
    topics: rlpItems(topics.body, FIELD, 4).map((topic) => rlpBytes(topic, FIELD, 32)),
    data: rlpBytes(data, FIELD),
  };
}
