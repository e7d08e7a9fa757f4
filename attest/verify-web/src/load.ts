// Makers' certificates and revocation lists from PEM text.  What cannot be read is not believed, and said: one odd
// certificate must not cost its reader all the others.  A file that ends inside a block is refused whole.

import { FormatError, type Bytes } from "./bytes.js";
import type { Roots } from "./chain.js";
import { parseCrl, type Crl } from "./crl.js";
import { parseCertificate, pemBlocks } from "./x509.js";

export interface PemFile {
  readonly name: string;
  readonly text: string;
}

export interface Lists {
  readonly lists: readonly Crl[];
  /** What could not be read, for people. */
  readonly remarks: readonly string[];
}

/** Every certificate of these files that can be read. */
export function loadRoots(files: readonly PemFile[]): Roots {
  const { read, remarks } = load(files, "CERTIFICATE", parseCertificate);
  return { certificates: read, remarks };
}

/** Every revocation list of these files that can be read. */
export function loadCrls(files: readonly PemFile[]): Lists {
  const { read, remarks } = load(files, "X509 CRL", parseCrl);
  return { lists: read, remarks };
}

function load<T>(files: readonly PemFile[], label: string, parse: (der: Bytes, field: string) => T): { read: T[]; remarks: string[] } {
  const read: T[] = [];
  const remarks: string[] = [];
  for (const { name, text } of files) {
    const blocks = pemBlocks(text, label, name);
    if (blocks.length === 0) throw new FormatError(name, 0, `holds no "-----BEGIN ${label}-----"`);
    for (const [index, block] of blocks.entries()) {
      try {
        if ("wrong" in block) throw new FormatError(`${name}[${index}]`, 0, block.wrong);
        read.push(parse(block.der, `${name}[${index}]`));
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        remarks.push(`not believed: ${error.message}`);
      }
    }
  }
  return { read, remarks };
}
