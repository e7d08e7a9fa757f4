//! A burn-in as the command shows it: from an appliance's answers, which are made here of a stream that the core wrote.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
};

use appliance_api::burn_in::BurnInView;
use appliance_model::{
    Now, Serial,
    burn_in::staged::{Done, Figure, Outcome, Task, Unit},
    inventory::{Inventory, Thread},
};
use firmware_checks_burn_in::{
    staged::{self, Given, Measured, Profile, Seen, by_model, device, look},
    stream::{self, Dut, Opening, Writer},
};

use crate::{run, text};

/// What would make a terminal do something, in a name that hardware chose.
const MODEL: &str = "BOX\u{1b}[2J";

/// A smoke run of a machine without drives: all of it, or all but the last task.
fn view(whole: bool) -> BurnInView {
    let mut inventory =
        Inventory { threads: vec![Thread::default()], memory_bytes: Some(1 << 36), ..Inventory::default() };
    (inventory.system.serial, inventory.system.product) = (Serial::parse("HOST"), Some(MODEL.into()));
    let profile = Profile::built_in("smoke").unwrap();
    let course = staged::plan(&inventory, &profile, Given::default()).unwrap();
    let tasks: Vec<Task> =
        course.stages.iter().flat_map(|stage| stage.waves.iter().flatten()).cloned().collect();
    let opening = Opening {
        dut: Dut { serial: course.serial.clone(), manufacturer: None, product: None },
        course,
        profile: staged::built_in_text("smoke").unwrap().into(),
        models: staged::models(&inventory),
        peers: Vec::new(),
        agent: "0".into(),
    };
    let mut writer = Writer::new();
    writer.open(&opening, 1, Now(0)).unwrap();
    for (place, task) in tasks.iter().enumerate() {
        writer.begin(task, 1, Now(0)).unwrap();
        if whole || place + 1 < tasks.len() {
            writer.end(&outcome(task), &[], Now(0)).unwrap();
        }
    }
    if whole {
        let verdict = stream::judge(writer.run().unwrap());
        writer.close(&verdict, Now(1000)).unwrap();
    }
    let machine = staged::machine(&inventory, "HOST", None);
    look("h-0123456789ab", machine, Seen::of(writer.run().unwrap()))
}

/// A core that miscomputes, and no word of memory.
fn outcome(task: &Task) -> Outcome {
    let wrong = Figure {
        name: "wrong-answers".into(),
        device: device(&task.work),
        value: 3,
        unit: Unit::Count,
        attained: None,
    };
    let done = if task.id.ends_with("cpu-compare") {
        Done::Measured {
            figures: vec![wrong],
            faults: vec!["cpu 0: gemm: 7 instead of 8".into()],
            coverage: vec!["1 CPU".into()],
        }
    } else {
        Done::Undone { why: "no memory could be locked".into() }
    };
    Outcome { task: task.id.clone(), boot: 1, seconds: task.seconds, done }
}

/// Answers one request after another with these bodies; its URL.
fn appliance(bodies: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for body in bodies {
            let Ok((mut client, _)) = listener.accept() else { return };
            let head =
                BufReader::new(&client).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            assert!(head.count() > 1);
            let length = body.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            client.write_all(answer.as_bytes()).unwrap();
        }
    });
    url
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

#[test]
fn a_burn_in_is_shown_and_watched() {
    let (half, whole) = (view(false), view(true));
    let url = appliance(vec![json(&whole), json(&whole), json(&half), json(&whole)]);
    let show = run(&["burn-in", "show", "h-0123456789ab", "--appliance", &url]);
    let said = text(&show.stdout);
    assert!(show.status.success(), "{}", text(&show.stderr));
    for words in [
        "h-0123456789ab · HOST · BOX\u{fffd}[2J\n",
        "FAILED\n",
        "cpu 0: gemm: 7 instead of 8",
        "wrong-answers 3, the rule is at most 0",
        "wrong-answers                               3  does not hold: wrong-answers at most 0",
        "NOT DONE in",
        "no memory could be locked",
        "Coverage\n  1 CPU",
        &whole.profile_digest,
        &whole.stream.as_ref().unwrap().sha256,
    ] {
        assert!(said.contains(words), "no `{words}` in:\n{said}");
    }
    assert!(!said.contains('\u{1b}'), "what hardware calls itself moves no cursor");
    let shown = run(&["burn-in", "show", "h-0123456789ab", "--json", "--appliance", &url]);
    assert_eq!(serde_json::from_slice::<BurnInView>(&shown.stdout).unwrap(), whole);

    // Not a terminal: a line for what begins and what ends, once, and the verdict in words and in the status.
    let watch = run(&["burn-in", "watch", "h-0123456789ab", "--appliance", &url]);
    let said = text(&watch.stdout);
    assert_eq!(watch.status.code(), Some(1), "{said}{}", text(&watch.stderr));
    let last = "everything/memory-walk";
    for words in [
        &format!("{last}: begun, "),
        &format!("{last}: NOT DONE in "),
        "cpu/cpu-compare: FAULTY in ",
        "\nFAILED\n",
    ] {
        assert_eq!(said.matches(words).count(), 1, "`{words}` in:\n{said}");
    }
    assert!(said.find("begun").unwrap() < said.find("FAILED").unwrap() && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn the_fleet_is_shown_by_model() {
    let measured = |number: u64, value| Measured {
        model: MODEL.into(),
        stage: "storage".into(),
        figure: "random-read-rate".into(),
        unit: Unit::OperationsPerSecond,
        device: format!("drive {number}"),
        host: "h-0123456789ab".into(),
        serial: "HOST".into(),
        value,
        at: None,
    };
    let values = (0..).zip([1000, 1000, 700, 1000, 1100]).map(|(number, value)| measured(number, value));
    let view = by_model(values.collect(), &Profile::built_in("smoke").unwrap());
    let url = appliance(vec![json(&view), json(&by_model(Vec::new(), &Profile::built_in("smoke").unwrap()))]);
    let said = text(&run(&["burn-in", "models", "--appliance", &url]).stdout);
    assert!(said.starts_with("BOX\u{fffd}[2J\n"), "{said}");
    assert!(
        said.contains("OUTLIER drive 2 in h-0123456789ab (HOST): 700 operations/s, 70.0 % of the median"),
        "{said}"
    );
    assert_eq!(said.matches("OUTLIER").count(), 1);
    assert_eq!(text(&run(&["burn-in", "models", "--appliance", &url]).stdout), "No burn-in has ended yet.\n");
}
