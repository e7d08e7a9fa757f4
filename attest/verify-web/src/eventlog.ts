// The firmware's event log (TCG PC Client Platform Firmware Profile, chapter 10): parsed strictly, replayed by digests.
// Types and data of events are not covered by replay; whoever reads them must check the digest first.

import { FormatError, isZero, Reader, type Bytes } from "./bytes.js";
import { ALG, digest, HASHES } from "./tpm.js";

export const EVENT = {
  noAction: 0x0000_0003,
  separator: 0x0000_0004,
  variableDriverConfig: 0x8000_0001,
  bootServicesApplication: 0x8000_0003,
  efiAction: 0x8000_0007,
  hcrtm: 0x8000_0010,
  variableAuthority: 0x8000_00e0,
} as const;

export interface LogEvent {
  readonly pcr: number;
  readonly type: number;
  readonly digests: ReadonlyMap<number, Bytes>;
  readonly data: Bytes;
}

export interface EventLog {
  readonly events: readonly LogEvent[];
  /** Algorithms of the header; SHA-1 alone for a log of the old format. */
  readonly banks: readonly number[];
  /** Where PCR 0 starts: 0, 3 or 4. */
  readonly locality: number;
}

const LOG_BYTES_MAX = 1024 * 1024;
const EVENTS_MAX = 8192;
const PCR_MAX = 23;
/** Banks a header may announce: TPMs have at most 16. */
const BANKS_MAX = 16;

export function parseEventLog(bytes: Bytes): EventLog {
  if (bytes.length === 0) throw new FormatError("uefi", 0, "no log at all");
  if (bytes.length > LOG_BYTES_MAX) throw new FormatError("uefi", LOG_BYTES_MAX, `${bytes.length} bytes`);
  const reader = new Reader(bytes);
  const first = oldEvent(reader, "uefi[0]");
  const banks = first.type === EVENT.noAction && first.pcr === 0 ? specIdBanks(first.data) : undefined;
  const events: LogEvent[] = [first];
  while (reader.left > 0) {
    if (events.length >= EVENTS_MAX) reader.fail("uefi", `more than ${EVENTS_MAX} events`);
    const field = `uefi[${events.length}]`;
    const event = banks ? agileEvent(reader, banks, field) : oldEvent(reader, field);
    if (event.type !== EVENT.noAction && event.pcr > PCR_MAX) reader.fail(field, `extends PCR ${event.pcr}`);
    events.push(event);
  }
  if (first.type !== EVENT.noAction && first.pcr > PCR_MAX) reader.fail("uefi[0]", `extends PCR ${first.pcr}`);
  return { events, banks: banks ? [...banks.keys()] : [ALG.sha1], locality: startLocality(events) };
}

function oldEvent(reader: Reader, field: string): LogEvent {
  const pcr = reader.u32le(`${field}.pcr`);
  const type = reader.u32le(`${field}.type`);
  const sha1 = reader.take(20, `${field}.digest`);
  const data = reader.take(reader.u32le(`${field}.size`), `${field}.data`);
  return { pcr, type, digests: new Map([[ALG.sha1, sha1]]), data };
}

function agileEvent(reader: Reader, banks: ReadonlyMap<number, number>, field: string): LogEvent {
  const pcr = reader.u32le(`${field}.pcr`);
  const type = reader.u32le(`${field}.type`);
  const count = reader.u32le(`${field}.digests`);
  if (count !== banks.size) reader.fail(`${field}.digests`, `${count} digests for ${banks.size} banks`);
  const digests = new Map<number, Bytes>();
  for (let left = count; left > 0; left--) {
    const alg = reader.u16le(`${field}.digests.alg`);
    const length = banks.get(alg);
    if (length === undefined || digests.has(alg)) {
      reader.fail(`${field}.digests.alg`, `0x${alg.toString(16)} is not in the header or there twice`);
    }
    digests.set(alg, reader.take(length, `${field}.digests`));
  }
  const data = reader.take(reader.u32le(`${field}.size`), `${field}.data`);
  return { pcr, type, digests, data };
}

/** Banks and digest lengths of a "Spec ID Event03", or nothing if the event is another one. */
function specIdBanks(data: Bytes): ReadonlyMap<number, number> | undefined {
  const reader = new Reader(data);
  if (reader.left < 16 || ascii(reader.take(16, "uefi[0].signature")) !== "Spec ID Event03\0") return undefined;
  reader.take(8, "uefi[0].platform");
  const count = reader.u32le("uefi[0].numberOfAlgorithms");
  if (count === 0 || count > BANKS_MAX) reader.fail("uefi[0].numberOfAlgorithms", `${count} algorithms`);
  const banks = new Map<number, number>();
  for (let left = count; left > 0; left--) {
    const alg = reader.u16le("uefi[0].algorithm");
    const length = reader.u16le("uefi[0].digestSize");
    const known = HASHES.get(alg);
    if (banks.has(alg) || length === 0 || length > 64 || (known && known.length !== length)) {
      reader.fail("uefi[0].digestSize", `0x${alg.toString(16)} with ${length} bytes, or there twice`);
    }
    banks.set(alg, length);
  }
  reader.take(reader.u8("uefi[0].vendorInfoSize"), "uefi[0].vendorInfo");
  reader.end("uefi[0]");
  return banks;
}

export function ascii(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes.subarray(0, 4096));
}

/** The locality PCR 0 starts at.  A second word on it, or one that comes late, makes the log worthless. */
function startLocality(events: readonly LogEvent[]): number {
  let locality: number | undefined;
  let extended = false;
  let hcrtm = false;
  events.forEach((event, at) => {
    if (event.pcr !== 0) return;
    if (event.type !== EVENT.noAction) {
      hcrtm ||= !extended && event.type === EVENT.hcrtm;
      extended = true;
    } else if (event.data.length >= 16 && ascii(event.data.subarray(0, 16)) === "StartupLocality\0") {
      const value = event.data[16] ?? -1;
      if (event.data.length !== 17 || ![0, 3, 4].includes(value) || locality !== undefined || extended) {
        throw new FormatError(`uefi[${at}].data`, 0, "StartupLocality is malformed, repeated or late");
      }
      locality = value;
    }
  });
  return locality ?? (hcrtm ? 4 : 0);
}

/** SHA-256 values that the log leads to, for each PCR it extends.  PCRs are replayed side by side: each waits for itself. */
export async function replay(subtle: SubtleCrypto, log: EventLog): Promise<ReadonlyMap<number, Bytes>> {
  const chains = new Map<number, Bytes[]>();
  for (const event of log.events) {
    const value = event.digests.get(ALG.sha256);
    if (event.type === EVENT.noAction || value === undefined) continue;
    const chain = chains.get(event.pcr) ?? [];
    chain.push(value);
    chains.set(event.pcr, chain);
  }
  const replayed = await Promise.all(
    [...chains].map(async ([pcr, chain]): Promise<[number, Bytes]> => {
      let value: Bytes = new Uint8Array(32);
      if (pcr === 0) value[31] = log.locality;
      for (const extended of chain) value = await digest(subtle, "SHA-256", value, extended);
      return [pcr, value];
    }),
  );
  return new Map(replayed);
}

/** PCRs 0 to 7 without exactly one separator of four equal bytes 0x00 or 0xff whose digest is its data's. */
export async function badSeparators(subtle: SubtleCrypto, log: EventLog): Promise<number[]> {
  const bad: number[] = [];
  for (let pcr = 0; pcr < 8; pcr++) {
    const found = log.events.filter((event) => event.pcr === pcr && event.type === EVENT.separator);
    const [only] = found;
    const good = only !== undefined && found.length === 1 && (await isGoodSeparator(subtle, only));
    if (!good) bad.push(pcr);
  }
  return bad;
}

async function isGoodSeparator(subtle: SubtleCrypto, event: LogEvent): Promise<boolean> {
  const plain = isZero(event.data) || event.data.every((byte) => byte === 0xff);
  return event.data.length === 4 && plain && (await digestIsOfData(subtle, event));
}

/** Whether the SHA-256 digest of an event is that of its data: only then does replay vouch for the data. */
export async function digestIsOfData(subtle: SubtleCrypto, event: LogEvent): Promise<boolean> {
  const claimed = event.digests.get(ALG.sha256);
  if (claimed === undefined) return false;
  const actual = await digest(subtle, "SHA-256", event.data);
  return claimed.every((byte, at) => byte === actual[at]);
}

const DEVICE_PATH_MESSAGING = 3;
const DEVICE_PATH_URI = 24;
const DEVICE_PATH_END = 0x7f;

/** The URI in the device path of the last image loaded: the firmware's word, no proof. */
export function bootUrl(log: EventLog): string | undefined {
  let url: string | undefined;
  for (const event of log.events) {
    if (event.type !== EVENT.bootServicesApplication) continue;
    try {
      url = uriOf(event.data) ?? url;
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      // A device path that cannot be read says nothing, and nothing rests on it.
    }
  }
  return url;
}

function uriOf(data: Bytes): string | undefined {
  const reader = new Reader(data);
  reader.take(24, "image");
  const length = reader.u64le("image.devicePathLength");
  if (length > BigInt(reader.left)) return undefined;
  const path = new Reader(reader.take(Number(length), "image.devicePath"));
  let uri: string | undefined;
  while (path.left > 0) {
    const type = path.u8("devicePath.type");
    const subtype = path.u8("devicePath.subtype");
    const size = path.u16le("devicePath.length");
    if (size < 4 || type === DEVICE_PATH_END) break;
    const body = path.take(size - 4, "devicePath.body");
    const isUri = type === DEVICE_PATH_MESSAGING && subtype === DEVICE_PATH_URI && body.length > 0;
    if (isUri) uri = ascii(body);
  }
  // Only printable ASCII is shown to people.
  return uri !== undefined && /^[\x21-\x7e]+$/.test(uri) ? uri : undefined;
}

