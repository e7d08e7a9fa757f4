// The firmware's event log (TCG PC Client Platform Firmware Profile, chapter 10): parsed strictly, replayed by digests.
// Types and data of events are not covered by replay; whoever reads them must check the digest first.

import { equal, FormatError, isZero, Reader, type Bytes } from "./bytes.js";
import { sha256 } from "./sha256.js";
import { ALG, digest } from "./tpm.js";

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
  /** Size of the firmware's UINTN. */
  readonly pointerBytes: 4 | 8;
  /** Whether the first event is a header: 1, or 0 in a log of the old format without one. */
  readonly headers: number;
  /** Algorithms of the header; SHA-1 alone for a log of the old format. */
  readonly banks: readonly number[];
  /** Where PCR 0 starts: 0, 3 or 4. */
  readonly locality: number;
}

const LOG_BYTES_MAX = 1024 * 1024;
const EVENTS_MAX = 8192;
const PCR_MAX = 23;
/** Banks a header may announce: TPMs have at most 16. */
const BANKS_MAX = 8;

export function parseEventLog(bytes: Bytes): EventLog {
  if (bytes.length === 0) throw new FormatError("uefi", 0, "no log at all");
  if (bytes.length > LOG_BYTES_MAX) throw new FormatError("uefi", LOG_BYTES_MAX, `${bytes.length} bytes`);
  const reader = new Reader(bytes);
  const first = oldEvent(reader, "uefi[0]");
  const header = first.type === EVENT.noAction ? specId(first.data) : undefined;
  const banks = header?.banks;
  const events: LogEvent[] = [first];
  while (reader.left > 0) {
    if (events.length - (header ? 1 : 0) >= EVENTS_MAX) reader.fail("uefi", `more than ${EVENTS_MAX} events`);
    const field = `uefi[${events.length}]`;
    const event = banks ? agileEvent(reader, banks, field) : oldEvent(reader, field);
    if (event.type !== EVENT.noAction && event.pcr > PCR_MAX) reader.fail(field, `extends PCR ${event.pcr}`);
    events.push(event);
  }
  if (first.type !== EVENT.noAction && first.pcr > PCR_MAX) reader.fail("uefi[0]", `extends PCR ${first.pcr}`);
  return { events, headers: header ? 1 : 0, pointerBytes: header?.pointerBytes ?? 8, banks: banks ? [...banks.keys()] : [ALG.sha1], locality: startLocality(events) };
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

interface SpecId {
  /** Digest lengths by algorithm; nothing in a header of the old format. */
  readonly banks: ReadonlyMap<number, number> | undefined;
  readonly pointerBytes: 4 | 8;
}

/** A "Spec ID Event", or nothing if the event is another one. */
function specId(data: Bytes): SpecId | undefined {
  if (!ascii(data.subarray(0, 13)).startsWith("Spec ID Event")) return undefined;
  const reader = new Reader(data);
  const version = ascii(reader.take(16, "uefi[0].signature")).slice(13);
  reader.take(7, "uefi[0].platform");
  const uintn = reader.u8("uefi[0].uintnSize");
  if (uintn !== 1 && uintn !== 2) reader.fail("uefi[0].uintnSize", `${uintn}`);
  if (!["00\0", "02\0", "03\0"].includes(version)) reader.fail("uefi[0].signature", "a version nobody knows");
  const banks = version === "03\0" ? specIdBanks(reader) : undefined;
  reader.take(reader.u8("uefi[0].vendorInfoSize"), "uefi[0].vendorInfo");
  reader.end("uefi[0]");
  return { banks, pointerBytes: uintn === 1 ? 4 : 8 };
}

/** SHA-1, SHA-256 and SHA-384 have their lengths; others are stepped over, so any sane length will do. */
const KNOWN_LENGTHS: ReadonlyMap<number, number> = new Map([[ALG.sha1, 20], [ALG.sha256, 32], [ALG.sha384, 48]]);

function specIdBanks(reader: Reader): ReadonlyMap<number, number> {
  const count = reader.u32le("uefi[0].numberOfAlgorithms");
  if (count === 0 || count > BANKS_MAX) reader.fail("uefi[0].numberOfAlgorithms", `${count} algorithms`);
  const banks = new Map<number, number>();
  for (let left = count; left > 0; left--) {
    const alg = reader.u16le("uefi[0].algorithm");
    const length = reader.u16le("uefi[0].digestSize");
    const known = KNOWN_LENGTHS.get(alg) ?? length;
    if (banks.has(alg) || length === 0 || length > 64 || known !== length) {
      reader.fail("uefi[0].digestSize", `0x${alg.toString(16)} with ${length} bytes, or there twice`);
    }
    banks.set(alg, length);
  }
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
    if (event.type !== EVENT.noAction) {
      hcrtm ||= !extended && event.pcr === 0 && event.type === EVENT.hcrtm;
      extended ||= event.pcr === 0;
    } else if (event.data.length >= 16 && ascii(event.data.subarray(0, 16)) === "StartupLocality\0") {
      const value = event.data[16] ?? -1;
      if (event.pcr !== 0 || event.data.length !== 17 || ![0, 3, 4].includes(value) || locality !== undefined || extended) {
        throw new FormatError(`uefi[${at}].data`, 0, "StartupLocality is malformed, repeated or late");
      }
      locality = value;
    }
  });
  return locality ?? (hcrtm ? 4 : 0);
}

/** SHA-256 values that the log leads to, for each PCR it extends. */
export function replay(log: EventLog): ReadonlyMap<number, Bytes> {
  const values = new Map<number, Bytes>();
  const start = (pcr: number): Bytes => {
    const value = new Uint8Array(32);
    if (pcr === 0) value[31] = log.locality;
    return value;
  };
  // Firmware that says where PCR 0 starts and extends nothing has still set it.
  if (log.locality !== 0) values.set(0, start(0));
  for (const event of log.events) {
    const extended = event.digests.get(ALG.sha256);
    if (event.type === EVENT.noAction || extended === undefined) continue;
    values.set(event.pcr, sha256(values.get(event.pcr) ?? start(event.pcr), extended));
  }
  return values;
}

/** Boot options that firmware tried in vain before the one that started, and PCR 4 as it would be without them. */
export interface StraightBoot {
  readonly pcr4: Bytes;
  readonly inVain: number;
}

const ATTEMPTS_MAX = 64;
const SEPARATOR = sha256(new Uint8Array(4));
const [CALLING, RETURNING] = ["Calling EFI Application from Boot Option", "Returning from EFI Application from Boot Option"]
  .map((words) => sha256(new TextEncoder().encode(words))) as [Bytes, Bytes];

/** Leaves out tries that directly follow the separator or each other: everything else that PCR 4 holds stays in the value.
 * Nothing, if there are none or too many.  It counts only for a log that leads to the signed PCR 4. */
export function straightBoot(log: EventLog): StraightBoot | undefined {
  const digests: { readonly type: number; readonly digest: Bytes }[] = [];
  for (const { pcr, type, digests: all } of log.events) {
    const digest = all.get(ALG.sha256);
    if (pcr === 4 && type !== EVENT.noAction && digest !== undefined) digests.push({ type, digest });
  }
  const start = digests.findIndex(({ digest }) => equal(digest, SEPARATOR)) + 1;
  if (start === 0) return undefined;
  const acts = (at: number, words: Bytes): boolean => {
    const event = digests[at];
    return event !== undefined && event.type === EVENT.efiAction && equal(event.digest, words);
  };
  let end = start;
  while (acts(end, RETURNING) && acts(end + 1, CALLING)) end += 2;
  const inVain = (end - start) / 2;
  if (inVain === 0 || inVain > ATTEMPTS_MAX) return undefined;
  let pcr4: Bytes = new Uint8Array(32);
  digests.forEach(({ digest }, at) => {
    if (at < start || at >= end) pcr4 = sha256(pcr4, digest);
  });
  return { pcr4, inVain };
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
const DEVICE_PATH_END_ENTIRE = 0xff;
const NODES_MAX = 64;
const URL_BYTES_MAX = 2048;

/** The URI in the device path of the last image loaded: the firmware's word, no proof. */
export function bootUrl(log: EventLog): string | undefined {
  let url: string | undefined;
  for (const event of log.events) {
    if (event.type !== EVENT.bootServicesApplication) continue;
    try {
      url = uriOf(event.data, log.pointerBytes) ?? url;
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      // A device path that cannot be read says nothing, and nothing rests on it.
    }
  }
  return url;
}

function uriOf(data: Bytes, pointerBytes: 4 | 8): string | undefined {
  const reader = new Reader(data);
  reader.take(8 + 2 * pointerBytes, "image");
  const length = pointerBytes === 4 ? BigInt(reader.u32le("image.length")) : reader.u64le("image.length");
  if (length > BigInt(reader.left)) return undefined;
  const path = new Reader(reader.take(Number(length), "image.devicePath"));
  let uri: string | undefined;
  for (let node = 0; node < NODES_MAX; node++) {
    const type = path.u8("devicePath.type");
    const subtype = path.u8("devicePath.subtype");
    const size = path.u16le("devicePath.length");
    if (size < 4) return undefined;
    const body = path.take(size - 4, "devicePath.body");
    if (type === DEVICE_PATH_END && subtype === DEVICE_PATH_END_ENTIRE) return uri;
    if (type === DEVICE_PATH_MESSAGING && subtype === DEVICE_PATH_URI) {
      // Some firmware counts a terminating zero.  Only printable ASCII is shown to people.
      const text = ascii(body).replace(/\0$/, "");
      uri = text.length <= URL_BYTES_MAX && /^[\x21-\x7e]+$/.test(text) ? text : undefined;
    }
  }
  return undefined;
}
