//! One corpus of quotes, and two parsers that must agree on each: `attest-wire` in Rust, `QuoteCheck.sol` on chain.
//!
//! `tests/corpus/quotes.txt` names what each line shows.  `SCALERFORGE_GOLDENS=1` writes it anew; what is in it decides.

use std::{fmt::Write as _, fs, path::Path};

use alloy::primitives::{Address, B256, Bytes, U256, hex};
use attest_wire::{AlgId, Attest, Body, HashAlg};
use chain_contracts::{QuoteProbe, nodes::ScalerNodes as N};
use revm::primitives::hardfork::SpecId;

use crate::{
    moves::Dice,
    world::{DEPOSIT, Kind, Machine, TOKEN, World, attest_bytes, payment},
};

/// PCRs that every class wants, those that nobody may select, as bits (attest/FORMAT.md, 3).
const REQUIRED: u32 = 0x18FF;
const FORBIDDEN: u32 = 0xFFFF_0000;
/// Random alterations beside the corpus.
const ALTERED: usize = 2_000;

/// The qualifying data of a quote as a registration's evidence has it, by the Rust parser.
fn in_rust(quote: &[u8]) -> Option<Vec<u8>> {
    let attest = Attest::parse(quote).ok()?;
    let Body::Quote { selection, pcr_digest } = &attest.body else { return None };
    let [bank] = selection.banks() else { return None };
    let fits = attest.qualified_signer.hash() == HashAlg::Sha256
        && attest.extra_data.len() == 32
        && bank.alg == AlgId::SHA256
        && bank.mask & REQUIRED == REQUIRED
        && bank.mask & FORBIDDEN == 0
        && pcr_digest.len() == 32;
    fits.then_some(attest.extra_data)
}

/// The same by the contract.
fn on_chain(world: &mut World, probe: Address, quote: &[u8]) -> Option<Vec<u8>> {
    let quote = Bytes::copy_from_slice(quote);
    let call = QuoteProbe::parseCall { quote, requiredPcrs: U256::ZERO.to() };
    Some(world.evm.ask(probe, &call).ok()?.to_vec())
}

/// A quote with bytes from `at` on replaced.
fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut quote = attest_bytes(&[0x77; 32]);
    quote[at..at + bytes.len()].copy_from_slice(bytes);
    quote
}

/// Behind the bitmap's size: the bitmap, and what belongs behind it.
fn bitmap(bytes: &[u8]) -> Vec<u8> {
    let whole = attest_bytes(&[0x77; 32]);
    let size = u8::try_from(bytes.len()).unwrap();
    [&whole[..107], &[size], bytes, &whole[111..]].concat()
}

fn corpus() -> Vec<(&'static str, Vec<u8>)> {
    let whole = attest_bytes(&[0x77; 32]);
    let two_banks = [&whole[..101], &[0, 0, 0, 2], &whole[105..111], &whole[105..]].concat();
    let no_bank = [&whole[..101], &[0, 0, 0, 0], &whole[111..]].concat();
    let short_extra = [&whole[..42], &[0, 31], &whole[45..]].concat();
    let long_extra = [&whole[..42], &[0, 33, 1], &whole[44..]].concat();
    let no_extra = [&whole[..42], &[0, 0], &whole[76..]].concat();
    let sha384_name = [&whole[..6], &[0, 50, 0, 0x0C], &[7; 48], &whole[42..]].concat();
    let handle_name = [&whole[..6], &[0, 4, 0x40, 0, 0, 7], &whole[42..]].concat();
    let sha384_digest = [&whole[..111], &[0, 48], &[1; 48]].concat();
    let empty_digest = [&whole[..111], &[0, 0]].concat();
    vec![
        ("as-a-tpm-writes-it", whole.clone()),
        ("every-pcr-below-16", with(108, &[0xFF, 0xFF])),
        ("only-what-is-required", with(108, &[0xFF, 0x18])),
        ("clock-not-safe", with(92, &[0])),
        ("bitmap-of-two-bytes", bitmap(&[0xFF, 0xFA])),
        ("bitmap-of-four-bytes", bitmap(&[0xFF, 0xFA, 0, 0])),
        ("magic-of-nobody", with(0, &[0xFE])),
        ("certification", with(4, &[0x80, 0x17])),
        ("creation", with(4, &[0x80, 0x1A])),
        ("clock-safe-neither", with(92, &[2])),
        ("signer-of-sha384", sha384_name),
        ("signer-is-a-handle", handle_name),
        ("signer-size-short", with(7, &[33])),
        ("signer-algorithm-unknown", with(9, &[0xFF])),
        ("extra-data-short", short_extra),
        ("extra-data-long", long_extra),
        ("extra-data-none", no_extra),
        ("two-banks", two_banks),
        ("no-bank", no_bank),
        ("bank-sha1", with(105, &[0, 4])),
        ("bitmap-of-five-bytes", bitmap(&[0xFF, 0xFA, 0, 0, 0])),
        ("bitmap-of-one-byte", bitmap(&[0xFF])),
        ("bitmap-of-none", bitmap(&[])),
        ("pcr-7-missing", with(108, &[0x7F])),
        ("pcr-11-missing", with(109, &[0xF2])),
        ("pcr-12-missing", with(109, &[0xEA])),
        ("pcr-16-selected", with(110, &[0x01])),
        ("pcr-23-selected", with(110, &[0x80])),
        ("pcr-24-selected", bitmap(&[0xFF, 0xFA, 0, 1])),
        ("digest-of-sha384", sha384_digest),
        ("digest-none", empty_digest),
        ("a-byte-behind", [&whole[..], &[0]].concat()),
        ("a-byte-missing", whole[..144].to_vec()),
        ("nothing", Vec::new()),
    ]
}

#[test]
fn both_parsers_take_and_refuse_the_same() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/quotes.txt");
    if std::env::var_os("SCALERFORGE_GOLDENS").is_some() {
        let mut text = String::new();
        for (name, quote) in corpus() {
            let verdict = if in_rust(&quote).is_some() { "accept" } else { "refuse" };
            writeln!(text, "{verdict} {name} {}", hex::encode(&quote)).unwrap();
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let mut world = World::new();
    let probe = world.evm.create(world.governor, QuoteProbe::BYTECODE.clone());
    let text = fs::read_to_string(&path).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for line in text.lines() {
        let [verdict, name, bytes] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let quote = hex::decode(bytes).unwrap();
        let (rust, chain) = (in_rust(&quote), on_chain(&mut world, probe, &quote));
        assert_eq!(rust, chain, "{name}");
        assert_eq!(rust.is_some(), verdict == "accept", "{name}");
        if rust.is_some() { accepted += 1 } else { refused += 1 }
    }
    assert!(accepted >= 6 && refused >= 25, "{accepted} and {refused}");
    // And whatever else one or a few bytes make of it.
    let whole = attest_bytes(&[0x77; 32]);
    for length in 0..whole.len() {
        assert_eq!(
            in_rust(&whole[..length]),
            on_chain(&mut world, probe, &whole[..length]),
            "{length} bytes"
        );
    }
    for at in 0..whole.len() {
        for byte in [0, 1, 2, 4, 0x0B, 0x7F, 0x80, 0xFF] {
            let quote = with(at, &[byte]);
            assert_eq!(in_rust(&quote), on_chain(&mut world, probe, &quote), "byte {at} is {byte}");
        }
    }
    let mut dice = Dice(5);
    for _ in 0..ALTERED {
        let mut quote = bitmap(&[0xFF, 0xFA, 0, 0][..1 + dice.below(4)]);
        for _ in 0..dice.below(3) {
            let at = dice.below(quote.len());
            quote[at] = u8::try_from(dice.below(256)).unwrap();
        }
        assert_eq!(in_rust(&quote), on_chain(&mut world, probe, &quote), "{}", hex::encode(&quote));
    }
}

#[test]
fn without_the_precompile_it_still_passes() {
    let mut world = World::on(SpecId::PRAGUE, Kind::Permit);
    world.deposit(world.owner.address(), 60 * TOKEN);
    Machine::new("one").register(&mut world).unwrap();
    let mut other = Machine::new("two").attest(&world, world.owner.address());
    other.r = B256::ZERO;
    let two = Machine::new("two");
    let owner = world.owner.address();
    let refused = two.send(&mut world, owner, two.params(), other, payment(DEPOSIT)).err().unwrap();
    assert!(refused.is::<N::QuoteSignatureInvalid>());
}
