//! Publications: a proof that somebody wrote, from the header down to the log.

use attest_verify::publication::{Publication, PublicationFile};

/// One input.
pub fn run(input: &[u8]) {
    if let Ok(file) = PublicationFile::decode(input) {
        assert_eq!(PublicationFile::decode(file.encode().as_bytes()).unwrap().encode(), file.encode());
        let _ = file.prove();
    }
    if let Ok(publication) = Publication::read(input) {
        let _ = publication.digest(&[1; 20], &[2; 32]);
    }
}
