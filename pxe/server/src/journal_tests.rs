//! The file on disk: its form, crashes, and disks that refuse.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use appliance_model::{Digest, Mac, Now, Seconds, Ticket};
use pxe_policy::{
    Interface, Issued, Lease, LeaseState, Network, Pool, Redeemed, Serving, Site, Stance, Subnet,
};

use super::*;

fn desk() -> Arc<Mutex<Desk>> {
    let pool = Pool {
        first: Ipv4Addr::new(10, 0, 0, 10),
        last: Ipv4Addr::new(10, 0, 0, 99),
        never: BTreeSet::new(),
        reservations: BTreeMap::new(),
        lease: Seconds(3600),
    };
    let subnet = Subnet::new(Ipv4Addr::new(10, 0, 0, 0), 24).unwrap();
    let network = Network { interface: 0, subnet, relays: BTreeSet::new(), pool };
    let interface = Interface { address: Ipv4Addr::new(10, 0, 0, 1), serving: Serving::All };
    Arc::new(Mutex::new(Desk::new(Site::default(), vec![interface], vec![network])))
}

fn changes() -> Vec<Change> {
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let issued = Issued { ticket: Ticket([1; 16]), mac, minted: Now(5) };
    let address = Ipv4Addr::new(10, 0, 0, 12);
    vec![
        Change::Stance(mac, Stance::Discover),
        Change::Lease(Lease { mac, address, until: Now(9), state: LeaseState::Bound }),
        Change::Declined(Ipv4Addr::new(10, 0, 0, 13), Now(99)),
        Change::Spent(Redeemed { issued, boot_nonce: Digest([3; 32]), at: Now(7) }),
        Change::Ticket(Issued { ticket: Ticket([2; 16]), ..issued }),
        Change::Fetched(Ticket([2; 16])),
        Change::Told(Ticket([2; 16])),
        Change::Server(Ipv4Addr::new(10, 0, 0, 1)),
    ]
}

/// If this fails, change your code, not this test: sites have such files.
#[test]
fn the_format_is_pinned() {
    let text = String::from_utf8(lines(changes()).unwrap()).unwrap();
    let zeros = "0303030303030303030303030303030303030303030303030303030303030303";
    assert_eq!(
        text,
        format!(
            r#"{{"stance":{{"mac":"02:00:00:00:00:01","stance":"discover"}}}}
{{"lease":{{"mac":"02:00:00:00:00:01","address":"10.0.0.12","until":9,"state":"bound"}}}}
{{"declined":{{"address":"10.0.0.13","until":99}}}}
{{"spent":{{"ticket":"01010101010101010101010101010101","mac":"02:00:00:00:00:01","minted":5,"boot_nonce":"{zeros}","at":7}}}}
{{"ticket":{{"ticket":"02020202020202020202020202020202","mac":"02:00:00:00:00:01","minted":5}}}}
{{"fetched":{{"ticket":"02020202020202020202020202020202"}}}}
{{"told":{{"ticket":"02020202020202020202020202020202"}}}}
{{"server":{{"address":"10.0.0.1"}}}}
"#
        )
    );
}

#[tokio::test]
async fn what_was_durable_survives_and_a_torn_tail_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let first = Journal::open(dir.path(), &desk()).unwrap();
    first.queue(changes()).durable().await.unwrap();
    assert!(matches!(Journal::open(dir.path(), &desk()), Err(JournalError::InUse { .. })));
    let bytes = fs::read(dir.path().join("journal.jsonl")).unwrap();
    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("journal.jsonl");
    for end in 0..=bytes.len() {
        fs::write(&path, &bytes[..end]).unwrap();
        let shared = desk();
        let mut desk = shared.lock().unwrap();
        replay(&path, &mut desk).unwrap();
        let whole = bytes[..end].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(desk.snapshot().len(), whole.saturating_sub(1), "cut at {end}");
    }
    let mut bad = bytes.clone();
    bad[HEADER.len() + 5] = b'#';
    fs::write(&path, &bad).unwrap();
    assert!(matches!(Journal::open(other.path(), &desk()), Err(JournalError::Corrupt { line: 2, .. })));
    assert_eq!(fs::read(&path).unwrap(), bad, "a file we cannot read is not touched");
}

#[tokio::test]
async fn a_disk_that_refuses_confirms_nothing_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let shared = desk();
    let journal = Journal::open(dir.path(), &shared).unwrap();
    let path = dir.path().join("journal.jsonl");
    // A folder in the place of the file that a rewrite makes: no write can succeed.
    fs::create_dir(path.with_extension("new")).unwrap();
    journal.lost.store(true, Ordering::Release);
    let queue = |change: Change| {
        let mut desk = shared.lock().unwrap();
        desk.apply(change);
        journal.queue([change])
    };
    assert_eq!(queue(changes()[0]).durable().await, Err(NotDurable));
    assert_eq!(queue(changes()[1]).durable().await, Err(NotDurable), "at once, without another attempt");
    fs::remove_dir(path.with_extension("new")).unwrap();
    while queue(changes()[2]).durable().await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let again = desk();
    replay(&path, &mut again.lock().unwrap()).unwrap();
    assert_eq!(again.lock().unwrap().snapshot(), shared.lock().unwrap().snapshot());
    assert_eq!(shared.lock().unwrap().snapshot().len(), 3);
}

#[tokio::test]
async fn a_disk_that_hangs_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), &desk()).unwrap();
    let (hold, held) = std::sync::mpsc::channel::<()>();
    assert!(journal.queue_then([changes()[0]], move |_| {
        let _ = held.recv();
    }));
    // The writer holds one batch and perhaps a group of others; the queue holds as many again; the rest is refused.
    let refused = (0..200).filter(|_| !journal.queue_then([changes()[0]], |_| {})).count();
    assert!((200 - 2 * QUEUE_MAX - 1..=200 - QUEUE_MAX + 1).contains(&refused), "{refused}");
    assert!(journal.queue(None).durable().await.is_err(), "no room: refused, not waited for");
    drop(hold);
    while journal.queue(None).durable().await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What a version wrote that did not keep who was told a ticket by DHCP.
const BEFORE_TOLD: &str = r#"{"scalerforge-pxe-journal":1}
{"ticket":{"ticket":"02020202020202020202020202020202","mac":"02:00:00:00:00:01","minted":5}}
{"fetched":{"ticket":"02020202020202020202020202020202"}}
"#;

#[test]
fn an_older_journal_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    fs::write(&path, BEFORE_TOLD).unwrap();
    let shared = desk();
    let mut desk = shared.lock().unwrap();
    replay(&path, &mut desk).unwrap();
    assert_eq!(desk.snapshot().len(), 2);
    assert!(!desk.told_by_dhcp(Ticket([2; 16])), "nobody was told, as far as this file says");
}

/// The folder in which the second life of this test's process writes until it is killed.
const VICTIM: &str = "SCALERFORGE_JOURNAL_VICTIM";

/// Minted, fetched, told: the `n`th machine's ticket.
fn told(n: u32) -> ([Change; 3], Ticket) {
    let [_, a, b, c] = n.to_be_bytes();
    let mut ticket = [7; 16];
    ticket[..4].copy_from_slice(&n.to_be_bytes());
    let ticket = Ticket(ticket);
    let issued = Issued { ticket, mac: Mac([2, 0, 0, a, b, c]), minted: Now(5) };
    ([Change::Ticket(issued), Change::Fetched(ticket), Change::Told(ticket)], ticket)
}

/// `kill -9` between the answer to an agent's DHCP and its hello: whatever was confirmed before is known after.
#[tokio::test]
async fn a_killed_process_knows_afterwards_whom_it_told_a_ticket() {
    use std::io::{BufRead as _, BufReader};
    if let Some(dir) = std::env::var_os(VICTIM) {
        let shared = desk();
        let journal = Journal::open(Path::new(&dir), &shared).unwrap();
        for n in 0..u32::MAX {
            let (changes, _) = told(n);
            let pending = {
                let mut desk = shared.lock().unwrap();
                changes.into_iter().for_each(|change| desk.apply(change));
                journal.queue(changes)
            };
            pending.durable().await.unwrap();
            // Where the reply would leave.
            println!("told {n}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    for seen in [1, 40, 200] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "journal::tests::a_killed_process_knows_afterwards_whom_it_told_a_ticket",
            ])
            .env(VICTIM, dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok).filter_map(|line| {
            let (_, n) = line.split_once("told ")?;
            n.parse::<u32>().ok()
        });
        let last = lines.by_ref().find(|n| *n >= seen).unwrap();
        child.kill().unwrap();
        // What it said before it died counts as well.
        let last = lines.last().unwrap_or(last);
        child.wait().unwrap();
        let shared = desk();
        let mut desk = shared.lock().unwrap();
        replay(&dir.path().join("journal.jsonl"), &mut desk).unwrap();
        let lost = (0..=last).find(|n| !desk.told_by_dhcp(told(*n).1));
        assert_eq!(lost, None, "killed after {last}");
    }
}
