// Certificates that are nearly what they were: one element written differently, everything around it kept whole.

const CONSTRUCTED = 0x20;
const OCTETS = 0x04;
const BITS = 0x03;

/** Elements of a body, or nothing if it is not made of any. */
function elements(bytes) {
  const found = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes[at];
    let length = bytes[at + 1];
    let head = 2;
    if (length === undefined || (tag & 0x1f) === 0x1f || length === 0x80 || length > 0x84) return undefined;
    if (length > 0x80) {
      const digits = length & 0x7f;
      length = 0;
      for (let left = 0; left < digits; left++) length = length * 256 + (bytes[at + head++] ?? Number.NaN);
    }
    if (!(at + head + length <= bytes.length)) return undefined;
    found.push(element(tag, bytes.subarray(at + head, at + head + length)));
    at += head + length;
  }
  return found;
}

function element(tag, body) {
  const prefix = tag === BITS ? body.subarray(0, 1) : body.subarray(0, 0);
  const holds = (tag & CONSTRUCTED) !== 0 || ((tag === OCTETS || tag === BITS) && body[prefix.length] === 0x30);
  const parts = holds ? elements(body.subarray(prefix.length)) : undefined;
  return parts ? { tag, prefix: [...prefix], parts } : { tag, prefix: [], body: [...body] };
}

function* all(node) {
  yield node;
  for (const part of node.parts ?? []) yield* all(part);
}

function length(size, extra) {
  const digits = [];
  for (let left = size; left > 0; left >>= 8) digits.unshift(left & 0xff);
  const padding = Array(extra).fill(0);
  if (extra === 0 && size < 0x80) return [size];
  if (digits.length === 0) digits.push(0);
  return [0x80 + padding.length + digits.length, ...padding, ...digits];
}

function written(node) {
  const body = node.parts ? [...node.prefix, ...node.parts.flatMap(written)] : node.body;
  return [node.tag, ...length(body.length, node.extra ?? 0), ...body];
}

const CHANGES = [
  // Needless zeros in a length.
  (node, roll) => (node.extra = 1 + roll(3)),
  // Needless zeros in a number, or one that turns negative.
  (node, roll) => node.body && node.body.splice(0, 0, ...Array(1 + roll(2)).fill(roll(4) === 0 ? 0xff : 0)),
  (node, roll) => node.body?.length && (node.body[roll(node.body.length)] = [0, 1, 0x7f, 0x80, 0xfe, 0xff, 0x20, 0x30][roll(8)]),
  (node, roll) => node.body && (node.body.length = roll(node.body.length + 1)),
  (node, roll) => (node.tag = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0c, 0x13, 0x14, 0x16, 0x17, 0x18, 0x1e, 0x30, 0x31, 0xa0, 0xa1, 0xa3][roll(18)]),
  (node, roll) => node.parts?.length && node.parts.splice(roll(node.parts.length), 1),
  (node, roll) => node.parts?.length && node.parts.push(node.parts[roll(node.parts.length)]),
  (node) => node.parts?.length > 1 && node.parts.reverse(),
];

export function derMutated(bytes, roll) {
  const [tree, ...more] = elements(bytes) ?? [];
  if (tree === undefined || more.length > 0) return bytes;
  const nodes = [...all(tree)];
  for (let left = 1 + roll(2); left > 0; left--) CHANGES[roll(CHANGES.length)](nodes[roll(nodes.length)], roll);
  return Uint8Array.from(written(tree));
}
