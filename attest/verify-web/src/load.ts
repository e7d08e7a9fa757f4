// Makers' certificates from PEM text.

import { FormatError } from "./bytes.js";
import type { Roots } from "./chain.js";
import { parseCrl, type Crl } from "./crl.js";
import { parseCertificate, pemBlocks } from "./x509.js";

/** Every certificate of these files.  One that cannot be read is an error: a list of roots with holes is a trap. */
export function loadRoots(files: readonly { readonly name: string; readonly text: string }[]): Roots {
  const certificates = files.flatMap(({ name, text }) => {
    const blocks = pemBlocks(text, "CERTIFICATE");
    const isListOnly = pemBlocks(text, "X509 CRL").length > 0;
    if (blocks.length === 0 && !isListOnly) throw new FormatError(name, 0, "holds no certificates");
    return blocks.map((der, index) => parseCertificate(der, `${name}[${index}]`));
  });
  return { certificates };
}

/** Every revocation list of these files. */
export function loadCrls(files: readonly { readonly name: string; readonly text: string }[]): Crl[] {
  return files.flatMap(({ name, text }) => pemBlocks(text, "X509 CRL").map((der, index) => parseCrl(der, `${name}[${index}]`)));
}
