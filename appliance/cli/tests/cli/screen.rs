//! The machine's own screen on a real pseudo-terminal, whose size nobody told: a serial line.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    process::Stdio,
};

use nix::pty::openpty;

use crate::{path, scalerforge};

#[test]
fn the_screen_is_drawn_on_a_serial_line_and_ends_by_ctrl_c() {
    let room = tempfile::tempdir().unwrap();
    let pty = openpty(None, None).unwrap();
    let mut command = scalerforge();
    command.args([
        "console",
        "--site",
        path(&room.path().join("none")),
        "--invitation",
        path(&room.path().join("i")),
    ]);
    std::fs::write(room.path().join("i"), "8443\nk7qx-29fd\n").unwrap();
    command.env("TERM", "vt220").stderr(Stdio::null());
    command.stdin(pty.slave.try_clone().unwrap()).stdout(pty.slave);
    let mut child = command.spawn().unwrap();
    // It holds the other end, too, and would keep it open.
    drop(command);
    let mut screen = File::from(pty.master);
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    // Ends with the child, whatever it shows: then reading fails.
    let mut asked = false;
    while let Ok(count) = screen.read(&mut buffer) {
        if count == 0 {
            break;
        }
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        // Blanks are not sent where the screen is blank: words come one by one.  Which, an address decides.
        if !asked && ["browser,", "page"].iter().any(|word| seen.contains(word)) {
            asked = true;
            screen.write_all(b"\x03").unwrap();
        }
    }
    assert!(asked, "the screen never came: {seen}");
    assert!(child.wait().unwrap().success());
    assert!(seen.contains("Scalerforge") && seen.contains("\u{1b}[?1049h"), "{seen}");
    assert!(
        seen.ends_with("\u{1b}[?25h") || seen.contains("\u{1b}[?1049l"),
        "the terminal is put back: {seen}"
    );
}
