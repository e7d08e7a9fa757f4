//! The library on real folders: what is checked, what is remembered, what is not handed out.

use std::time::Duration;

use sha2::Digest as _;

use super::*;

fn put(folder: &Path, bytes: &[u8]) -> Digest {
    let digest: Digest = sha2::Sha256::digest(bytes).into();
    fs::write(folder.join(hex(&digest)), bytes).unwrap();
    digest
}

/// Asks until the check is over.
fn ask(library: &Library, digest: Digest) -> Result<Arc<Content>, Refusal> {
    for _ in 0..6000 {
        match library.resolve(&image_path(digest)) {
            Err(Refusal::Busy { .. }) => thread::sleep(Duration::from_millis(10)),
            answer => return answer,
        }
    }
    panic!("the check never ended");
}

#[test]
fn what_is_named_by_its_digest_is_handed_out_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    let good = put(folder.path(), b"an image");
    let bad = [7; 32];
    fs::write(folder.path().join(hex(&bad)), b"not what its name says").unwrap();
    let link = [8; 32];
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join(hex(&link))).unwrap();
    let library = Library::open(folder.path(), &record).unwrap();
    let content = ask(&library, good).unwrap();
    assert_eq!((content.length(), content.digest()), (8, good));
    for absent in [bad, link, [9; 32]] {
        assert_eq!(ask(&library, absent).unwrap_err(), Refusal::Missing, "{}", hex(&absent));
    }
    for path in
        ["/images/sha256/", "/images/sha256/record", "/images/sha256/../record", "/images/sha512/aa", "/"]
    {
        assert_eq!(library.resolve(path).unwrap_err(), Refusal::Missing, "{path}");
    }
    let upper = image_path(good).to_uppercase();
    assert_eq!(library.resolve(&upper).unwrap_err(), Refusal::Missing);
    assert_eq!(library.list(), [(good, 8)]);
    // Corrected, it is looked at again.
    fs::remove_file(folder.path().join(hex(&good))).unwrap();
    assert_eq!(ask(&library, good).unwrap_err(), Refusal::Missing);
    put(folder.path(), b"an image");
    assert!(ask(&library, good).is_ok());
}

#[test]
fn a_file_that_changes_is_no_longer_handed_out() {
    let folder = tempfile::tempdir().unwrap();
    let digest = put(folder.path(), b"an image");
    let library = Library::open(folder.path(), &folder.path().join("record")).unwrap();
    let content = ask(&library, digest).unwrap();
    assert!(content.unchanged());
    fs::write(folder.path().join(hex(&digest)), b"another image").unwrap();
    assert!(!content.unchanged());
    assert_eq!(ask(&library, digest).unwrap_err(), Refusal::Missing);
}

#[test]
fn a_restart_reads_no_image_that_it_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    let digest = put(folder.path(), b"an image");
    drop(ask(&Library::open(folder.path(), &record).unwrap(), digest).unwrap());
    // The record is written after the image is ready; wait for it rather than for a time.
    while remembered(&record).is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    let library = Library::open(folder.path(), &record).unwrap();
    assert!(library.resolve(&image_path(digest)).is_ok(), "at the first question, without a check");
    // A record of another state of the file is worth nothing.
    drop(library);
    fs::write(folder.path().join(hex(&digest)), b"another").unwrap();
    let library = Library::open(folder.path(), &record).unwrap();
    assert_eq!(ask(&library, digest).unwrap_err(), Refusal::Missing);
    // Nor is one that is not a record.
    fs::write(&record, b"\xff\xfe rubbish\n12 34\n").unwrap();
    assert!(remembered(&record).is_empty());
}
