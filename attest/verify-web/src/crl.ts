// Revocation lists as dated snapshots: a verifier has no network.  An old list is still right about what it lists.

import { FormatError, type Bytes } from "./bytes.js";
import { isSignedBy } from "./chain.js";
import { derItems, inside, oid, TAG, type Der } from "./der.js";
import { parseName, parseSerial, sameName, signedParts, type Certificate, type Name, type Signed } from "./x509.js";

export interface Crl extends Signed {
  readonly issuer: Name;
  /** Serial numbers in hex, as certificates write them. */
  readonly serials: ReadonlySet<string>;
}

const LIST_BYTES_MAX = 16 * 1024 * 1024;
/** Number, authority key and distribution point; a delta (2.5.29.27) can take entries back and is refused. */
const KNOWN_CRITICAL = new Set(["2.5.29.20", "2.5.29.35", "2.5.29.28"]);

export function parseCrl(der: Bytes, field: string): Crl {
  if (der.length > LIST_BYTES_MAX) throw new FormatError(field, LIST_BYTES_MAX, `${der.length} bytes`);
  const { parts, ...signed } = signedParts(der, field);
  if (parts[0]?.tag === TAG.integer) parts.shift();
  const [, issuer, , ...rest] = parts;
  const isTime = (item: Der | undefined): boolean => item?.tag === TAG.utcTime || item?.tag === TAG.generalizedTime;
  if (isTime(rest[0])) rest.shift();
  const serials = new Set<string>();
  if (rest[0]?.tag === TAG.sequence) {
    for (const entry of inside(rest.shift(), TAG.sequence, `${field}.entries`)) {
      const [serial, , extensions] = inside(entry, TAG.sequence, `${field}.entry`);
      serials.add(parseSerial(serial, `${field}.serial`));
      if (extensions) refuseUnknown(extensions, field);
    }
  }
  const wrapper = rest.find((item) => item.tag === 0xa0);
  if (wrapper) refuseUnknown(derItems(wrapper.body, wrapper.at, field)[0], field);
  return { ...signed, issuer: parseName(issuer, `${field}.issuer`), serials };
}

function refuseUnknown(extensions: Der | undefined, field: string): void {
  for (const extension of inside(extensions, TAG.sequence, field)) {
    const [name, critical] = inside(extension, TAG.sequence, field);
    const isCritical = critical?.tag === TAG.boolean && critical.body[0] !== 0;
    if (isCritical && !KNOWN_CRITICAL.has(oid(name, field))) {
      throw new FormatError(field, extension.at, "an unknown critical extension: this list cannot be read rightly");
    }
  }
}

/** Whether a list by this issuer, signed with its key, names the certificate. */
export async function isRevoked(subtle: SubtleCrypto, child: Certificate, issuer: Certificate, crls: readonly Crl[]): Promise<boolean> {
  for (const crl of crls) {
    if (!crl.serials.has(child.serial) || !sameName(crl.issuer, issuer.subject)) continue;
    if (await isSignedBy(subtle, crl, issuer)) return true;
  }
  return false;
}
