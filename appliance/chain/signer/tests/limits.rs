//! Permissions to spend: their words, and that no sequence of signatures gets past them.

use appliance_model::{Address, Icnt, Now};
use chain_signer::{Ask, Denied, Permission, Spend, WINDOW_MILLISECONDS, judge};
use proptest::prelude::*;

const WORDS: &str = "SPEND 500 ICNT 0.5 COIN 10 NODES A DAY UNTIL 2026-12-31";
/// 2026-11-22.
const NOW: Now = Now(1_795_305_600_000);

fn permission(words: &str) -> Permission {
    words.parse().expect("a permission of the test")
}

fn ask(spend: Spend) -> Ask {
    Ask {
        account: Address([1; 20]),
        chain_id: 8453,
        slot: "nonce 1".into(),
        digest: [0; 32],
        words: Vec::new(),
        spend,
        understood: true,
    }
}

fn tokens(tokens: u64) -> Icnt {
    Icnt::tokens(tokens).expect("tokens of the test")
}

#[test]
fn the_words_are_the_permission() {
    let found = permission(WORDS);
    assert_eq!(found.to_string(), WORDS);
    assert_eq!((found.tokens, found.gas_wei, found.nodes), (tokens(500), 500_000_000_000_000_000, 10));
    let wrong = [
        "",
        "SPEND 500 ICNT",
        "spend 500 ICNT 0.5 COIN 10 NODES A DAY UNTIL 2026-12-31",
        "SPEND -500 ICNT 0.5 COIN 10 NODES A DAY UNTIL 2026-12-31",
        "SPEND 500. ICNT .5 COIN 10 NODES A DAY UNTIL 2026-12-31",
        "SPEND 500 ICNT 0.5 COIN 10 NODES A DAY UNTIL 2026-02-30",
        "SPEND 500 ICNT 0.5 COIN 10 NODES A DAY UNTIL 2026-12-31 OR SO",
        "SPEND 500 ICNT 0.5 COIN 99999999999 NODES A DAY UNTIL 2026-12-31",
        "SPEND 0.0000000000000000001 ICNT 0.5 COIN 10 NODES A DAY UNTIL 2026-12-31",
    ];
    for words in wrong {
        assert!(words.parse::<Permission>().is_err(), "{words}");
    }
}

#[test]
fn above_the_limit_the_number_is_named() {
    let rows: [(Spend, Spend, &str); 4] = [
        (
            Spend { staked: tokens(400), ..Spend::NONE },
            Spend { staked: tokens(120), ..Spend::NONE },
            "it takes 120 ICNT staked and 400 ICNT were signed for in the last 24 hours, above the 500 ICNT a day that are \
             allowed; wait, or allow at least 520 ICNT",
        ),
        (Spend::NONE, Spend { allowed: tokens(501), ..Spend::NONE }, "allow at least 501 ICNT"),
        (
            Spend { gas_wei: 400_000_000_000_000_000, ..Spend::NONE },
            Spend { gas_wei: 200_000_000_000_000_000, ..Spend::NONE },
            "allow at least 0.6 coin",
        ),
        (
            Spend { registrations: 10, ..Spend::NONE },
            Spend { registrations: 1, ..Spend::NONE },
            "allow at least 11",
        ),
    ];
    for (used, spend, words) in rows {
        let said = judge(&[(1, permission(WORDS))], used, &ask(spend), NOW).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    }
    let nothing = judge::<u64>(&[], Spend::NONE, &ask(Spend::NONE), NOW).unwrap_err();
    assert_eq!(nothing, Denied::Nothing { chain_id: 8453 });
    let unknown = Ask { understood: false, ..ask(Spend::NONE) };
    assert_eq!(judge(&[(1, permission(WORDS))], Spend::NONE, &unknown, NOW), Err(Denied::Unknown));
    // The last day counts, the one after it does not; what costs nothing of a full limit goes on.
    let last = Now(1_798_761_599_999);
    let full = Spend { staked: tokens(500), ..Spend::NONE };
    assert_eq!(judge(&[(1, permission(WORDS))], full, &ask(Spend::NONE), last), Ok(1));
    assert!(judge(&[(1, permission(WORDS))], Spend::NONE, &ask(Spend::NONE), Now(last.0 + 1)).is_err());
}

proptest! {
    /// Whatever is asked for in whatever order, what was admitted within any 24 hours is within the limit.
    #[test]
    fn no_window_holds_more_than_its_limit(asks in proptest::collection::vec((0_u64..WINDOW_MILLISECONDS / 4, 0_u64..300, 0_u32..4), 1..60)) {
        let limits = [(1, permission(WORDS))];
        let (mut now, mut admitted) = (NOW, Vec::<(u64, Spend)>::new());
        for (later, staked, nodes) in asks {
            now = Now(now.0 + later);
            let used = admitted
                .iter()
                .filter(|(at, _)| at + WINDOW_MILLISECONDS > now.0)
                .fold(Spend::NONE, |sum, (_, spend)| sum.plus(*spend));
            let spend = Spend { staked: tokens(staked), registrations: nodes, ..Spend::NONE };
            if judge(&limits, used, &ask(spend), now).is_ok() {
                admitted.push((now.0, spend));
            }
        }
        for (end, _) in &admitted {
            let window = admitted.iter().filter(|(at, _)| at <= end && at + WINDOW_MILLISECONDS > *end);
            let sum = window.fold(Spend::NONE, |sum, (_, spend)| sum.plus(*spend));
            prop_assert!(sum.staked <= tokens(500) && sum.registrations <= 10, "{sum:?}");
        }
    }
}
