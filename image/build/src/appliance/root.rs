//! The appliance's root: the hosts' without their agent, with `scalerforge` and the images that it serves.

use std::fs;
use std::path::Path;

use super::{Order, RELEASE};
use crate::build::{self, read};
use crate::host::{self, Base, START_PATH, drop_dead_wants, os_release, overlay};
use crate::installed::{Error, file};
use crate::release::{self, Release, Role};
use crate::tree::{Node, Tree};

const OVERLAY: &str = include_str!("../../data/appliance-overlay.txt");
/// Where everything of ours is.
const OURS: &str = "usr/lib/scalerforge";
/// What the host's overlay has for hosts alone.
const HOSTS_OWN: [&str; 9] = [
    "usr/lib/systemd/system/scalerforge-agent.service",
    "usr/lib/systemd/system/scalerforge.target",
    // A host's door; nobody opens one here.
    "usr/sbin/dropbear",
    "usr/bin/dropbearkey",
    "usr/lib/x86_64-linux-gnu/libtomcrypt.so.1.0.1",
    "usr/lib/x86_64-linux-gnu/libtommath.so.1.3.0",
    "usr/bin/busybox",
    "usr/lib/scalerforge/glass/sh",
    "etc/shells",
];
/// What makes the discovery image servable; the rest of its folder describes it.
const DISCOVERY: [&str; 3] = ["discovery.efi", image_seal::PROGRAMS, "reference.json"];

/// Where the package has certificate authorities, a file each.
const AUTHORITIES: &str = "usr/share/ca-certificates/mozilla/";
/// Where programs look for all of them, as Debian's installation script would have written it.
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Puts the tree together.
pub(super) fn root(
    base: &Base<'_>,
    order: &Order<'_>,
    progress: &mut dyn FnMut(&str),
) -> Result<Tree, Error> {
    let mut tree = host::system(base, progress).map_err(Error::Root)?;
    for path in HOSTS_OWN {
        tree.remove(path);
    }
    overlay(OVERLAY, &mut tree).map_err(Error::Root)?;
    bundle_authorities(&mut tree)?;
    let mut put = |path: &str, content: Vec<u8>, executable| {
        let put = tree.put(path, Node::File { content, executable });
        put.map_err(|error| Error::Root(host::Error::Tree(error)))
    };
    put("usr/lib/os-release", os_release("appliance", order.edition.version).into_bytes(), false)?;
    put(release::PLACE, order.edition.to_text_of(RELEASE).into_bytes(), false)?;
    put(&format!("{OURS}/scalerforge"), read(order.scalerforge).map_err(Error::Build)?, true)?;
    let start = build::read_agent(order.start, base.packages.architecture()).map_err(Error::Build)?;
    put(START_PATH, start, true)?;
    for name in DISCOVERY {
        let content = read(&order.discovery.join(name)).map_err(Error::Build)?;
        put(&format!("{OURS}/{name}"), content, false)?;
    }
    for (name, content) in host_release(order.host)? {
        put(&format!("{OURS}/host/{name}"), content, false)?;
    }
    drop_dead_wants(&mut tree);
    Ok(tree)
}

/// Puts the certificate authorities of the distribution into one file.
fn bundle_authorities(tree: &mut Tree) -> Result<(), Error> {
    let mut bundle = Vec::new();
    let mut all = Vec::new();
    for (path, node) in tree.iter().filter(|(path, _)| path.starts_with(AUTHORITIES)) {
        let Node::File { content, .. } = node else { continue };
        bundle.extend_from_slice(content);
        if !content.ends_with(b"\n") {
            bundle.push(b'\n');
        }
        all.push(path.to_owned());
    }
    if all.is_empty() {
        let what = "the package ca-certificates has none where they were; report this as a bug";
        return Err(file("find", Path::new(AUTHORITIES))(std::io::Error::other(what)));
    }
    for path in all {
        tree.remove(&path);
    }
    let node = Node::File { content: bundle, executable: false };
    tree.put(BUNDLE, node).map_err(|error| Error::Root(host::Error::Tree(error)))
}

/// A host system's release, whole.
fn host_release(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let description = folder.join(release::FILE);
    let text = fs::read(&description).map_err(file("read", &description))?;
    let odd = |source| file("understand", &description)(std::io::Error::other(source));
    let release = Release::parse(&text).map_err(odd)?;
    let mut all = Vec::new();
    for role in Role::ALL {
        let Some(part) = release.part(role) else { continue };
        let path = folder.join(&part.file);
        let content = fs::read(&path).map_err(file("read", &path))?;
        if super::hash(&content) != part.sha256 {
            let what = format!("it is not what {} says", release::FILE);
            return Err(file("take", &path)(std::io::Error::other(what)));
        }
        all.push((part.file.clone(), content));
    }
    // What the appliance compares hosts' quotes with.
    let reference = folder.join("host-reference.json");
    all.push(("host-reference.json".to_owned(), fs::read(&reference).map_err(file("read", &reference))?));
    all.push((release::FILE.to_owned(), text));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_become_one_file() {
        let mut tree = Tree::default();
        assert!(
            bundle_authorities(&mut tree).is_err(),
            "an appliance that believes nobody cannot reach a chain"
        );
        tree.write(&format!("{AUTHORITIES}b.crt"), "B\n").unwrap();
        tree.write(&format!("{AUTHORITIES}a.crt"), "A").unwrap();
        bundle_authorities(&mut tree).unwrap();
        let bundle = Node::File { content: b"A\nB\n".to_vec(), executable: false };
        assert_eq!(tree.node(BUNDLE), Some(&bundle));
        assert_eq!(tree.node(&format!("{AUTHORITIES}a.crt")), None);
    }

    #[test]
    fn the_overlay_is_what_it_says() {
        let mut tree = Tree::default();
        overlay(OVERLAY, &mut tree).unwrap();
        let to = |path: &str| match tree.node(path) {
            Some(Node::Link { to }) => to.clone(),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(to("usr/lib/systemd/system/default.target"), "scalerforge-appliance.target");
        assert_eq!(to("etc/resolv.conf"), "/run/systemd/resolve/resolv.conf");
    }
}
