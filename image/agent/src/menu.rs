//! What a person at the console of a server in the discovery image may ask for: by a monitor, a serial line, or a
//! management controller's serial-over-LAN, which need no network of the server's own.
//!
//! Addresses, what the appliance wants, the last lines, a restart.  It is no shell: it reads no path, runs no program and
//! changes nothing, so that whoever reaches the console gets no more of the machine than its power button gives.

use std::io::{BufRead, BufReader, Read, Write};

use crate::{
    console::{self, Seen},
    system::{self, Leave},
};

/// A person types a few letters; a line that is longer is noise on the wire.
const LINE_BYTES_MAX: u64 = 80;

/// What is typed to restart.
const RESTART: &str = "restart";

const MENU: &str = "\
  1  addresses
  2  what the appliance wants of this machine
  3  the last lines
  4  what is in the way on this machine (looks at its drives)
  restart  restart the machine: whatever it does is interrupted";

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Text(String),
    Restart,
    Nothing,
}

/// Answers lines from the console until there is no console any more.
///
/// `lacks` looks at the machine, and says what is in the way on it.
pub fn serve(lacks: impl Fn() -> Vec<String> + Send + 'static) {
    std::thread::spawn(move || {
        let see = See { addresses: &addresses, lacks: &lacks };
        talk(std::io::stdin(), std::io::stdout(), &see, &|| {
            crate::say!("restart asked for at the console");
            system::leave(Leave::Reboot);
        });
    });
}

/// What is looked at when somebody asks.
struct See<'a> {
    addresses: &'a dyn Fn() -> Vec<String>,
    lacks: &'a dyn Fn() -> Vec<String>,
}

fn talk(from: impl Read, mut to: impl Write, see: &See<'_>, restart: &dyn Fn()) {
    let mut lines = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        match lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let said = match answer(&String::from_utf8_lossy(&line), &console::seen(), see) {
            Answer::Text(text) => to.write_all(format!("{text}\n").as_bytes()),
            Answer::Restart => {
                restart();
                return;
            }
            Answer::Nothing => Ok(()),
        };
        if said.and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

fn answer(line: &str, seen: &Seen, see: &See<'_>) -> Answer {
    let word = line.trim();
    // Half of a line that was too long is noise, too.
    if !line.ends_with('\n') {
        return Answer::Nothing;
    }
    Answer::Text(match word {
        "1" => match (see.addresses)() {
            found if found.is_empty() => "no port has an address: no DHCP server answered".into(),
            found => found.join("\n"),
        },
        "2" => seen.wish.clone(),
        "3" => seen.lines.join("\n"),
        "4" => match (see.lacks)() {
            found if found.is_empty() => "nothing that can be seen from here".into(),
            found => found.join("\n"),
        },
        RESTART => return Answer::Restart,
        // Enter alone, `?`, and what nobody knows.
        _ => format!("{}\n{MENU}", seen.wish),
    })
}

/// Ports with their addresses, as the kernel has them.
fn addresses() -> Vec<String> {
    let Ok(found) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let of = |one: nix::ifaddrs::InterfaceAddress| {
        let address = one.address?;
        let ip = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(four), _) => four.ip().to_string(),
            (None, Some(six)) => six.ip().to_string(),
            (None, None) => return None,
        };
        (one.interface_name != "lo").then(|| format!("{}  {ip}", one.interface_name))
    };
    found.filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn seen() -> Seen {
        Seen { wish: "held".into(), lines: vec!["[ 1] a".into(), "[ 2] b".into()] }
    }

    #[test]
    fn each_line_has_its_answer_and_none_is_a_command() {
        let see = See { addresses: &|| vec!["eth0  10.0.0.7".to_owned()], lacks: &|| vec!["no TPM".into()] };
        for (line, expected) in
            [("1\n", "eth0  10.0.0.7"), (" 2\r\n", "held"), ("3\n", "[ 1] a\n[ 2] b"), ("4\n", "no TPM")]
        {
            assert_eq!(answer(line, &seen(), &see), Answer::Text(expected.into()), "{line:?}");
        }
        for line in ["\n", "?\n", "sh\n", "restart now\n", "RESTART\n", "5\n", "$(restart)\n"] {
            assert_eq!(answer(line, &seen(), &see), Answer::Text(format!("held\n{MENU}")), "{line:?}");
        }
        assert_eq!(answer("restart\n", &seen(), &see), Answer::Restart);
        assert_eq!(answer("restart", &seen(), &see), Answer::Nothing, "cut off");
        let none = See { addresses: &Vec::new, lacks: &Vec::new };
        for (line, said) in [
            ("1\n", "no port has an address: no DHCP server answered"),
            ("4\n", "nothing that can be seen from here"),
        ] {
            assert_eq!(answer(line, &seen(), &none), Answer::Text(said.into()));
        }
    }

    #[test]
    fn noise_ends_nothing_and_a_restart_ends_it() {
        let restarts = Cell::new(0);
        let noise = [vec![0xff; 5000], b"\n2\nrestart\n2\n".to_vec()].concat();
        let mut out = Vec::new();
        let none = See { addresses: &Vec::new, lacks: &Vec::new };
        talk(noise.as_slice(), &mut out, &none, &|| restarts.set(restarts.get() + 1));
        assert_eq!(restarts.get(), 1);
        assert!(!out.is_empty());
        talk(&b""[..], &mut out, &none, &|| unreachable!("nobody typed"));
    }
}
