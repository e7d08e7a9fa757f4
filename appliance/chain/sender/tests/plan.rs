//! The sender's rules as tables, and against a model of a chain that does what chains do.
#![expect(clippy::unwrap_used, reason = "tests and what they stand on")]

use std::collections::BTreeMap;

use appliance_model::{Address, Now, Seconds};
use chain_client::{Call, Fees, Finality, Outcome, Place, Purpose, SignedTransaction, TxHash};
use chain_sender::{
    Act, Attempt, Job, JobId, Limits, Memory, Offer, Seen, Signed, State, Urgency, follow, moved, next,
    raised, refusal_counts,
};
use proptest::prelude::*;

const GWEI: u128 = 1_000_000_000;
const CAP: u128 = 100 * GWEI;

fn fees(max: u128, tip: u128) -> Fees {
    Fees { max_fee_per_gas: max, max_priority_fee_per_gas: tip }
}

fn id(name: &str) -> JobId {
    JobId::try_from(name.to_owned()).unwrap()
}

fn job(name: &str, state: State) -> Job {
    let call = Call::new(Address([1; 20]), name.as_bytes().to_vec(), Purpose::Register);
    Job {
        id: id(name),
        account: Address([2; 20]),
        call,
        needs: None,
        urgency: Urgency::Soon,
        queued_at: Now(0),
        reverts: 0,
        state,
    }
}

fn hash(nonce: u64, attempt: usize) -> TxHash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&nonce.to_be_bytes());
    bytes[8..16].copy_from_slice(&u64::try_from(attempt).unwrap().to_be_bytes());
    TxHash(bytes)
}

fn attempt(nonce: u64, number: usize, fees: Fees) -> Attempt {
    let raw = Vec::new();
    let transaction = SignedTransaction { raw, hash: hash(nonce, number), nonce, purpose: Purpose::Register };
    Attempt { transaction, fees }
}

fn sent(nonce: u64, max: u128, since: Now) -> State {
    State::Sent(Signed { nonce, gas_limit: 21_000, attempts: vec![attempt(nonce, 0, fees(max, 1))], since })
}

fn seen(used: u64) -> Seen {
    let offer = Offer::Fees(fees(2 * GWEI, GWEI));
    let (safe, finalized) = (Some(7), Some(4));
    Seen { safe, finalized, used_finally: used, used, pending: used, offer, places: BTreeMap::new() }
}

fn place(hash: TxHash, block: u64, outcome: Outcome) -> Place {
    Place { hash, block, block_hash: [9; 32], outcome }
}

const NOW: Now = Now(1_000_000);

fn acts(jobs: &[Job], seen: &Seen, now: Now) -> Vec<Act> {
    next(jobs, &BTreeMap::new(), seen, &mut Memory::default(), &Limits::usual(CAP), now)
}

#[test]
fn an_offer_is_raised_by_what_nodes_ask_for_and_never_above_the_cap() {
    let wanted = |max| fees(max * GWEI, GWEI);
    for (old, wanted, expected) in [
        // An eighth, where the chain wants no more.
        (fees(8 * GWEI, 8), wanted(1), Some((9 * GWEI + 1, GWEI))),
        // What the chain wants, where that is more.
        (fees(8 * GWEI, 8), wanted(50), Some((50 * GWEI, GWEI))),
        // Up to the cap, if that is a tenth.
        (fees(90 * GWEI, GWEI), wanted(1), Some((CAP, GWEI + GWEI / 8 + 1))),
        (fees(90 * GWEI, 90 * GWEI), wanted(1), Some((CAP, CAP))),
        // Nodes would not take less than a tenth more.
        (fees(91 * GWEI, GWEI), wanted(1), None),
        (fees(CAP, 1), wanted(1), None),
    ] {
        let found = raised(old, wanted, CAP);
        assert_eq!(found.map(|fees| (fees.max_fee_per_gas, fees.max_priority_fee_per_gas)), expected);
    }
}

#[test]
fn what_waits_is_sent_again_and_then_raised() {
    let waits = [job("a", sent(5, GWEI, NOW))];
    let soon = NOW.after(Seconds(1));
    assert_eq!(
        acts(&waits, &seen(5), soon),
        [Act::Send(id("a"))],
        "after a restart nobody knows that it was sent"
    );
    let mut memory = Memory::default();
    memory.sent.insert(hash(5, 0), NOW);
    let limits = Limits::usual(CAP);
    let over = BTreeMap::new();
    assert_eq!(next(&waits, &over, &seen(5), &mut memory, &limits, soon), []);
    let later = NOW.after(limits.resend);
    assert_eq!(next(&waits, &over, &seen(5), &mut memory, &limits, later), [Act::Send(id("a"))]);
    let stuck = NOW.after(limits.stuck);
    let found = next(&waits, &over, &seen(5), &mut memory, &limits, stuck);
    assert_eq!(found, [Act::Replace(id("a"), fees(2 * GWEI, GWEI))]);
    // Its nonce is used: there is nothing to send.
    assert_eq!(next(&waits, &over, &seen(6), &mut memory, &limits, stuck), []);
    // Too dear: the same bytes, no higher offer.
    let dear = Seen { offer: Offer::TooDear, ..seen(5) };
    assert_eq!(next(&waits, &over, &dear, &mut memory, &limits, stuck), [Act::Send(id("a"))]);
}

#[test]
fn a_new_call_takes_the_lowest_free_nonce_and_waits_for_what_it_needs() {
    let queued = || State::new(Now(0));
    let signs = |jobs: &[Job], seen: &Seen| {
        acts(jobs, seen, NOW).into_iter().find_map(|act| match act {
            Act::Sign(id, nonce, _) => Some((id.as_str().to_owned(), nonce)),
            Act::Send(_) | Act::Replace(..) | Act::Fill(..) => None,
        })
    };
    let some = |name: &str, nonce: u64| Some((name.to_owned(), nonce));
    assert_eq!(signs(&[job("a", queued())], &seen(5)), some("a", 5));
    assert_eq!(signs(&[job("a", sent(5, GWEI, NOW)), job("b", queued())], &seen(5)), some("b", 6));
    // Somebody else's are in the pool.
    let pending = Seen { pending: 8, ..seen(5) };
    assert_eq!(signs(&[job("a", queued())], &pending), some("a", 8));
    // A nonce below ours is nobody's any more.
    assert_eq!(signs(&[job("a", sent(7, GWEI, NOW)), job("b", queued())], &seen(5)), some("b", 5));
    let dear = Seen { offer: Offer::TooDear, ..seen(5) };
    assert_eq!(signs(&[job("a", queued())], &dear), None);
    let needs = Job { needs: Some(id("a")), ..job("b", queued()) };
    assert_eq!(signs(&[job("a", sent(5, GWEI, NOW)), needs.clone()], &seen(5)), None);
    let included = State::Included {
        signed: Signed { nonce: 5, gas_limit: 1, attempts: vec![attempt(5, 0, fees(1, 1))], since: NOW },
        place: place(hash(5, 0), 9, Outcome::Success),
        finality: Finality::Latest,
    };
    assert_eq!(signs(&[job("a", included), needs], &seen(6)), some("b", 6));
    // What is idle waits until nothing is on its way.
    let idle = Job { urgency: Urgency::Idle, ..job("i", queued()) };
    assert_eq!(signs(&[idle.clone(), job("z", queued())], &seen(5)), some("z", 5));
    assert_eq!(signs(&[idle.clone(), job("a", sent(5, GWEI, NOW))], &seen(5)), None);
    assert_eq!(signs(&[idle], &seen(5)), some("i", 5));
}

#[test]
fn a_nonce_that_nobody_uses_is_used_up() {
    let jobs = [job("a", sent(7, GWEI, NOW))];
    let (limits, over, mut memory) = (Limits::usual(CAP), BTreeMap::new(), Memory::default());
    memory.sent.insert(hash(7, 0), NOW);
    assert_eq!(next(&jobs, &over, &seen(5), &mut memory, &limits, NOW), []);
    let later = next(&jobs, &over, &seen(5), &mut memory, &limits, NOW.after(limits.stuck));
    assert!(later.contains(&Act::Fill(5, fees(2 * GWEI, GWEI))), "{later:?}");
    // Somebody's transaction with it is in the pool after all.
    let pending = Seen { pending: 7, ..seen(5) };
    let later = next(&jobs, &over, &pending, &mut memory, &limits, NOW.after(limits.stuck));
    assert!(!later.iter().any(|act| matches!(act, Act::Fill(..))), "{later:?}");
}

#[test]
fn a_job_follows_the_chain_there_and_back() {
    let limits = Limits::usual(CAP);
    let after = |state: State, seen: &Seen, memory: &mut Memory, now: Now| {
        follow(&job("a", state.clone()), None, seen, memory, &limits, now).unwrap_or(state)
    };
    let mut memory = Memory::default();
    let waits = sent(5, GWEI, Now(0));
    for (block, outcome, expected) in [
        (9, Outcome::Success, "Latest"),
        (7, Outcome::Reverted, "Safe"),
        (4, Outcome::Success, "Settled"),
        (3, Outcome::Reverted, "Reverted"),
    ] {
        let at = place(hash(5, 0), block, outcome);
        let in_block = Seen { places: BTreeMap::from([(at.hash, at)]), ..seen(6) };
        let found = after(waits.clone(), &in_block, &mut memory, NOW);
        let name = format!("{found:?}");
        assert!(name.contains(expected), "{name}");
        if found.is_over() {
            continue;
        }
        // A re-organisation: the same bytes again, and patience from now on.
        let State::Sent(signed) = after(found, &seen(5), &mut memory, NOW) else { panic!("still included") };
        assert_eq!((signed.nonce, signed.attempts.len(), signed.since), (5, 1, NOW));
    }
    // Somebody else used the nonce: not believed before a final block says so, and not at once.
    let young = Seen { used_finally: 5, ..seen(6) };
    assert_eq!(after(waits.clone(), &young, &mut memory, NOW), waits);
    assert_eq!(after(waits.clone(), &seen(6), &mut memory, NOW), waits);
    let lost = after(waits, &seen(6), &mut memory, NOW.after(limits.gone));
    assert!(matches!(lost, State::Queued { .. }), "{lost:?}");
    // What needs something that failed is given up; what needs something that works goes on.
    let failed = State::Dead { why: "x".into() };
    let waiting = Job { needs: Some(id("b")), ..job("a", State::new(NOW)) };
    let given_up = follow(&waiting, Some(&failed), &seen(5), &mut memory, &limits, NOW);
    assert!(matches!(given_up, Some(State::Dead { .. })), "{given_up:?}");
    assert_eq!(follow(&waiting, Some(&State::Found), &seen(5), &mut memory, &limits, NOW), None);
}

#[test]
fn what_was_undone_is_looked_at_again_but_not_for_ever() {
    let undone = || State::Reverted(place(hash(5, 0), 3, Outcome::Reverted));
    let mut waits = job("a", sent(5, GWEI, Now(0)));
    for reverts in 1..=2 {
        waits = moved(&waits, undone(), NOW);
        assert!(matches!(waits.state, State::Queued { .. }) && waits.reverts == reverts, "{waits:?}");
    }
    assert_eq!(moved(&waits, undone(), NOW).state, undone());
}

#[test]
fn a_refusal_counts_once_it_lasts() {
    let (limits, mut memory) = (Limits::usual(CAP), Memory::default());
    let later = NOW.after(limits.refused);
    assert!(!refusal_counts(&id("a"), None, &mut memory, &limits, NOW));
    assert!(refusal_counts(&id("a"), None, &mut memory, &limits, later));
    let waits = sent(5, GWEI, NOW);
    assert!(!refusal_counts(&id("a"), Some(&waits), &mut memory, &limits, later));
    assert!(refusal_counts(&id("a"), Some(&State::Found), &mut memory, &limits, later));
}

#[test]
fn the_journal_reads_what_it_wrote() {
    let signed =
        Signed { nonce: 5, gas_limit: 9, attempts: vec![attempt(5, 0, fees(u128::MAX, 7))], since: NOW };
    let at = place(hash(5, 0), 9, Outcome::Success);
    for state in [
        State::Queued { not_before: NOW, why: Some("x".into()) },
        State::Sent(signed.clone()),
        State::Included { signed, place: at, finality: Finality::Safe },
        State::Settled(at),
        State::Reverted(at),
        State::Found,
        State::Refused { error: "E".into(), sentence: "s".into() },
        State::Dead { why: "w".into() },
    ] {
        let job = Job { needs: Some(id("other")), ..job("host 1 register", state) };
        let text = serde_json::to_string(&job).unwrap();
        assert_eq!(serde_json::from_str::<Job>(&text).unwrap(), job, "{text}");
    }
    for name in ["", "ä", "a\nb", &"x".repeat(101)] {
        assert!(JobId::try_from(name.to_owned()).is_err(), "{name:?}");
    }
}

// If this fails, change your code, not this test: journals of running appliances have such records.
#[test]
fn a_record_has_these_bytes() {
    let record = r#"{"id":"a","account":"0202020202020202020202020202020202020202","call":{"to":"0101010101010101010101010101010101010101","input":"61","value":"0","purpose":"register"},"needs":null,"urgency":"soon","queued_at":0,"reverts":0,"state":{"queued":{"not_before":1000000,"why":null}}}"#;
    let written = serde_json::to_string(&job("a", State::new(NOW))).unwrap();
    assert_eq!(written, record);
}

/// A chain as far as the rules can see it.  A height of zero is final at once when `FINAL` blocks lie above.
#[derive(Debug, Default)]
struct Model {
    /// What is in each block: nonce and hash; `None` is a stranger's.
    blocks: Vec<Vec<(u64, Option<TxHash>)>>,
    pool: BTreeMap<u64, (Option<TxHash>, u128)>,
    base_fee: u128,
}

const FINAL: usize = 4;

impl Model {
    fn used(&self, blocks: usize) -> u64 {
        self.blocks.iter().take(blocks).map(|block| u64::try_from(block.len()).unwrap()).sum()
    }

    fn mine(&mut self) {
        let mut block = Vec::new();
        let mut next = self.used(self.blocks.len());
        while let Some((hash, max)) = self.pool.get(&next).copied().filter(|(_, max)| *max >= self.base_fee) {
            self.pool.remove(&next);
            block.push((next, hash));
            next += 1;
            let _ = max;
        }
        self.blocks.push(block);
    }

    fn send(&mut self, nonce: u64, hash: Option<TxHash>, max: u128) {
        let takes = match self.pool.get(&nonce) {
            Some((_, old)) => max * 10 >= old * 11,
            None => nonce >= self.used(self.blocks.len()),
        };
        if takes {
            self.pool.insert(nonce, (hash, max));
        }
    }

    fn look(&self) -> Seen {
        let height = self.blocks.len();
        let last_final = height.saturating_sub(FINAL);
        let used = self.used(height);
        let mut pending = used;
        while self.pool.contains_key(&pending) {
            pending += 1;
        }
        let offer = match self.base_fee.max(1) * 2 {
            _ if self.base_fee > CAP => Offer::TooDear,
            max => Offer::Fees(fees(max.min(CAP), 1)),
        };
        let mut places = BTreeMap::new();
        for (number, block) in self.blocks.iter().enumerate() {
            for hash in block.iter().filter_map(|(_, hash)| *hash) {
                let number = u64::try_from(number).unwrap();
                places.insert(hash, place(hash, number, Outcome::Success));
            }
        }
        // Block numbers start from zero: before the first final one there is none.
        let finalized = last_final.checked_sub(1).map(|number| u64::try_from(number).unwrap());
        Seen { safe: finalized, finalized, used_finally: self.used(last_final), used, pending, offer, places }
    }
}

/// The journal and the sender's memory over the model.
struct Life {
    jobs: Vec<Job>,
    memory: Memory,
    model: Model,
    now: Now,
}

impl Life {
    fn round(&mut self) {
        self.now = self.now.after(Seconds(5));
        let (seen, limits) = (self.model.look(), Limits::usual(CAP));
        for job in &mut self.jobs {
            if let Some(state) = follow(job, None, &seen, &mut self.memory, &limits, self.now) {
                job.state = state;
            }
        }
        for act in next(&self.jobs, &BTreeMap::new(), &seen, &mut self.memory, &limits, self.now) {
            self.act(act);
        }
        let mut nonces: Vec<u64> =
            self.jobs.iter().filter_map(|job| Some(job.state.signed()?.nonce)).collect();
        nonces.sort_unstable();
        nonces.dedup();
        assert_eq!(nonces.len(), self.jobs.iter().filter(|job| job.state.signed().is_some()).count());
    }

    fn act(&mut self, act: Act) {
        let now = self.now;
        let (name, fees) = match &act {
            Act::Send(id) => (id.clone(), None),
            Act::Replace(id, fees) | Act::Sign(id, _, fees) => (id.clone(), Some(*fees)),
            Act::Fill(nonce, fees) => (id(&format!("fill {nonce}")), Some(*fees)),
        };
        assert!(fees.is_none_or(|fees| fees.max_fee_per_gas <= CAP), "{act:?}");
        if let Act::Fill(nonce, fees) = act {
            let call = Call::new(Address([2; 20]), Vec::new(), Purpose::Fill);
            self.jobs.retain(|job| job.id != name);
            let number = 1000 + usize::try_from(now.0 / 5000).unwrap();
            let attempts = vec![attempt(nonce, number, fees)];
            let state = State::Sent(Signed { nonce, gas_limit: 1, attempts, since: now });
            self.jobs.push(Job { call, ..job(name.as_str(), state) });
        }
        let number = usize::try_from(now.0 / 5000).unwrap();
        let job = self.jobs.iter_mut().find(|job| job.id == name).unwrap();
        if let Act::Sign(_, nonce, fees) = act {
            let attempts = vec![attempt(nonce, number, fees)];
            job.state = State::Sent(Signed { nonce, gas_limit: 1, attempts, since: now });
        }
        let State::Sent(signed) = &mut job.state else { panic!("{:?}", job.state) };
        if let Act::Replace(_, fees) = act {
            let last = signed.newest().unwrap().fees;
            assert!(fees.max_fee_per_gas * 10 >= last.max_fee_per_gas * 11, "{fees:?} after {last:?}");
            signed.attempts.push(attempt(signed.nonce, number, fees));
            signed.since = now;
        }
        let newest = signed.newest().unwrap().clone();
        self.memory.sent.insert(newest.transaction.hash, now);
        self.model.send(signed.nonce, Some(newest.transaction.hash), newest.fees.max_fee_per_gas);
    }
}

#[derive(Debug, Clone)]
enum Weather {
    Mine,
    Reorganise(usize, bool),
    Drop(u64),
    Steal(u64),
    Fee(u128),
    Die,
}

fn weather() -> impl Strategy<Value = Weather> {
    prop_oneof![
        6 => Just(Weather::Mine),
        1 => (1..FINAL, any::<bool>()).prop_map(|(depth, keep)| Weather::Reorganise(depth, keep)),
        1 => (0..4_u64).prop_map(Weather::Drop),
        1 => (0..3_u64).prop_map(Weather::Steal),
        1 => prop_oneof![Just(0), Just(GWEI), Just(60 * GWEI), Just(200 * GWEI)].prop_map(Weather::Fee),
        1 => Just(Weather::Die),
    ]
}

impl Life {
    fn suffer(&mut self, weather: &Weather) {
        match weather {
            Weather::Mine => self.model.mine(),
            Weather::Reorganise(depth, keep) => {
                let height = self.model.blocks.len();
                let lost = self.model.blocks.split_off(height.saturating_sub(*depth));
                for (nonce, hash) in lost.iter().flatten().filter(|_| *keep) {
                    self.model.pool.entry(*nonce).or_insert((*hash, CAP));
                }
                for _ in &lost {
                    self.model.blocks.push(Vec::new());
                }
            }
            Weather::Drop(nonce) => {
                let used = self.model.look().used;
                self.model.pool.remove(&(used + nonce));
            }
            Weather::Steal(ahead) => {
                let used = self.model.look().used;
                self.model.send(used + ahead, None, 50 * GWEI);
            }
            Weather::Fee(fee) => self.model.base_fee = *fee,
            Weather::Die => self.memory = Memory::default(),
        }
    }
}

proptest! {
    #[test]
    fn whatever_the_chain_does_every_call_is_made_once(storm in prop::collection::vec(weather(), 0..60)) {
        let jobs: Vec<Job> = (0..5).map(|index| job(&format!("job {index}"), State::new(Now(0)))).collect();
        let mut life = Life { jobs, memory: Memory::default(), model: Model::default(), now: Now(0) };
        for weather in &storm {
            life.round();
            life.suffer(weather);
        }
        life.model.base_fee = 0;
        for _ in 0..100 {
            life.round();
            life.model.mine();
        }
        let all: Vec<TxHash> = life.model.blocks.iter().flatten().filter_map(|(_, hash)| *hash).collect();
        for job in life.jobs.iter().filter(|job| job.call.purpose != Purpose::Fill) {
            let State::Settled(place) = &job.state else { panic!("{job:#?}") };
            prop_assert_eq!(all.iter().filter(|hash| **hash == place.hash).count(), 1);
        }
        // Nothing of ours is in the chain but what settled, and fillers.
        let settled = |hash: &&TxHash| {
            life.jobs.iter().any(|job| matches!(&job.state, State::Settled(place) if place.hash == **hash))
        };
        let fillers = all.iter().filter(|hash| hash.0[8..16] >= [0, 0, 0, 0, 0, 0, 3, 0xE8][..]).count();
        prop_assert!(all.iter().filter(|hash| !settled(hash)).count() <= fillers, "{:?}", all);
    }
}
