//! One slot, many names: `P1-DIMMA1` on the board, `DIMM A1` at one controller, `PROC 1 DIMM 4` at another.
//!
//! A name is taken apart into a socket and the rest; words that only say "this is a slot" fall away.  Two lists of
//! names are matched together, because whether sockets count from nought shows only in the whole list.

/// A slot's name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    socket: Option<u32>,
    /// Channel and place, such as `A1`; for HPE the place alone.
    rest: String,
}

/// For each name of `ours`, the index of the name of `theirs` that means the same memory slot.
pub(crate) fn same_slots<S: AsRef<str>, T: AsRef<str>>(ours: &[S], theirs: &[T]) -> Vec<Option<usize>> {
    let (ours, theirs) = (slots(ours), slots(theirs));
    let alone = |list: &[Slot], rest: &str| list.iter().filter(|slot| slot.rest == rest).count() == 1;
    let find = |slot: &Slot| {
        if slot.rest.is_empty() {
            return None;
        }
        let exact = theirs.iter().position(|other| other == slot);
        exact.or_else(|| {
            // One of both does not name the socket: right if no other socket has a slot of that name.
            let at = theirs.iter().position(|other| other.rest == slot.rest)?;
            let silent = slot.socket.is_none() || theirs.get(at)?.socket.is_none();
            (silent && alone(&ours, &slot.rest) && alone(&theirs, &slot.rest)).then_some(at)
        })
    };
    ours.iter().map(find).collect()
}

/// For each name of `ours`, the index of the name of `theirs` that means the same drive bay: the same numbers in the
/// same order (`Disk.Bay.3` is bay 3, `Box 2:Bay 6` is not bay 6).
pub(crate) fn same_bays<S: AsRef<str>, T: AsRef<str>>(ours: &[S], theirs: &[T]) -> Vec<Option<usize>> {
    let numbers =
        |text: &str| -> Vec<u64> { tokens(text).iter().filter_map(|token| token.parse().ok()).collect() };
    let same = |one: &str, other: &str| {
        one.eq_ignore_ascii_case(other) || (!numbers(one).is_empty() && numbers(one) == numbers(other))
    };
    let find = |bay: &S| theirs.iter().position(|other| same(bay.as_ref(), other.as_ref()));
    ours.iter().map(find).collect()
}

fn slots<S: AsRef<str>>(names: &[S]) -> Vec<Slot> {
    let mut slots: Vec<Slot> = names.iter().map(|name| slot(name.as_ref())).collect();
    // Some boards call the first socket 0, their controllers call it 1.
    if slots.iter().any(|slot| slot.socket == Some(0)) {
        for socket in slots.iter_mut().filter_map(|slot| slot.socket.as_mut()) {
            *socket = socket.saturating_add(1);
        }
    }
    slots
}

fn slot(name: &str) -> Slot {
    let tokens = tokens(name);
    let (mut socket, mut rest, mut at) = (None, String::new(), 0);
    while let Some(token) = tokens.get(at) {
        at += 1;
        let number = tokens.get(at).and_then(|next| next.parse::<u32>().ok());
        let names_socket = matches!(token.as_str(), "P" | "PROC" | "CPU" | "PROCESSOR");
        // `P1` alone is the first slot of a channel P, not a socket without a slot.
        if names_socket && socket.is_none() && number.is_some() && at + 1 < tokens.len() {
            socket = number;
            at += 1;
            continue;
        }
        let bare = token.strip_prefix("DIMM").unwrap_or(token);
        if !matches!(bare, "SOCKET" | "SLOT" | "MODULE" | "MEMORY" | "BANK" | "CHANNEL" | "CH") {
            // Numbers that follow each other must not run together: channel 1, place 12 is not 11 and 2.
            let digit = |c: char| c.is_ascii_digit();
            if rest.ends_with(digit) && bare.starts_with(digit) {
                rest.push('.');
            }
            // `A01` and `A1` are one slot.
            let plain = bare.trim_start_matches('0');
            rest.push_str(if bare.starts_with(digit) && plain.is_empty() {
                "0"
            } else if bare.starts_with(digit) {
                plain
            } else {
                bare
            });
        }
    }
    Slot { socket, rest }
}

/// Runs of letters and runs of digits, in capitals; everything else separates.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut last = None;
    for c in text.chars().take(200) {
        let kind = (c.is_ascii_alphanumeric()).then(|| c.is_ascii_digit());
        let c = c.to_ascii_uppercase();
        match (kind, tokens.last_mut()) {
            (Some(_), Some(token)) if kind == last => token.push(c),
            (Some(_), _) => tokens.push(c.to_string()),
            (None, _) => {}
        }
        last = kind;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names as DMI tables and controllers of real servers write them.
    #[test]
    fn slots_of_many_makers() {
        for (ours, theirs, same) in [
            (&["P1-DIMMA1"][..], &["P1-DIMMA1"][..], true),
            (&["P1-DIMMA1"], &["DIMM A1"], true),
            (&["P1-DIMMA1"], &["DIMMA1"], true),
            (&["PROC 1 DIMM 4"], &["proc1dimm4"], true),
            (&["A1"], &["DIMM A1"], true),
            (&["A1"], &["DIMM.Socket.A1"], true),
            (&["DIMM_A1 "], &["A01"], true),
            (&["CPU1_DIMM_A1"], &["P1-DIMMA1"], true),
            (&["DIMM_P0_A0"], &["P1-DIMMA0"], true),
            (&["P1-DIMMA1", "P2-DIMMA1"], &["DIMM A1"], false),
            (&["P1-DIMMA1"], &["P1-DIMMA2"], false),
            (&["P1-DIMMA1"], &["P2-DIMMA1"], false),
            (&["PROC 1 DIMM 12"], &["PROC 1 DIMM 1"], false),
            (&["DIMM 1"], &["DIMM 12"], false),
            (&[""], &[""], false),
        ] {
            assert_eq!(same_slots(ours, theirs)[0].is_some(), same, "{ours:?} {theirs:?}");
        }
        // Counting from nought shows in the list only.
        let board = ["P0_A1", "P1_A1"];
        assert_eq!(same_slots(&board, &["P1-DIMMA1", "P2-DIMMA1"]), [Some(0), Some(1)]);
    }

    #[test]
    fn bays_of_many_makers() {
        for (ours, theirs, same) in [
            ("3", "Disk.Bay.3", true),
            ("Bay 3", "Disk.Bay.3", true),
            ("Box 2:Bay 6", "Box 2 Bay 6", true),
            ("6", "Box 2:Bay 6", false),
            ("3", "Disk.Bay.13", false),
            ("left", "LEFT", true),
            ("left", "right", false),
        ] {
            assert_eq!(same_bays(&[ours], &[theirs])[0].is_some(), same, "{ours} {theirs}");
        }
    }
}
