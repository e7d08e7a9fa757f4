// Makers' certificates from PEM text.

import { FormatError } from "./bytes.js";
import type { Roots } from "./chain.js";
import { parseCertificate, pemBlocks } from "./x509.js";

/** Every certificate of these files.  One that cannot be read is an error: a list of roots with holes is a trap. */
export function loadRoots(files: readonly { readonly name: string; readonly text: string }[]): Roots {
  const certificates = files.flatMap(({ name, text }) => {
    const blocks = pemBlocks(text, "CERTIFICATE");
    if (blocks.length === 0) throw new FormatError(name, 0, "holds no certificates");
    return blocks.map((der, index) => parseCertificate(der, `${name}[${index}]`));
  });
  return { certificates };
}
