//! Who holds a UDP port: what `ss -ulnp` knows, read from `/proc`.

use std::{fs, path::Path};

/// Names and process ids of those who listen on UDP `port`, as far as we may see them: `dnsmasq (812)`.
pub(crate) fn holders(proc: &Path, port: u16) -> Vec<String> {
    let inodes: Vec<String> = ["net/udp", "net/udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(proc.join(table)).ok())
        .flat_map(|table| inodes(&table, port))
        .collect();
    if inodes.is_empty() {
        return Vec::new();
    }
    let processes = fs::read_dir(proc).into_iter().flatten().filter_map(Result::ok);
    processes
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let mut files = fs::read_dir(entry.path().join("fd")).ok()?.filter_map(Result::ok);
            let holds = files.any(|file| {
                let target = fs::read_link(file.path()).unwrap_or_default();
                inodes.iter().any(|inode| target.as_os_str() == format!("socket:[{inode}]").as_str())
            });
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            holds.then(|| format!("{} ({pid})", name.trim()))
        })
        .collect()
}

/// The sockets bound to `port` in a table as `/proc/net/udp` has it.
fn inodes(table: &str, port: u16) -> Vec<String> {
    let bound = |line: &str| {
        let mut fields = line.split_whitespace();
        let (_, local) = fields.nth(1)?.rsplit_once(':')?;
        let inode = fields.nth(7)?;
        (u16::from_str_radix(local, 16) == Ok(port)).then(|| inode.to_owned())
    };
    table.lines().skip(1).filter_map(bound).collect()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn this_process_is_found_by_its_socket() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = holders(Path::new("/proc"), port);
        let own = format!("({})", std::process::id());
        assert!(found.iter().any(|holder| holder.ends_with(&own)), "{found:?}");
        drop(socket);
    }

    #[test]
    fn tables_that_make_no_sense_hold_nobody() {
        for table in ["", "head\n", "head\n 1: x", "head\n 1: 00000000:ZZZZ 0 0 0 0 0 0 0 7"] {
            assert!(inodes(table, 67).is_empty());
        }
    }
}
