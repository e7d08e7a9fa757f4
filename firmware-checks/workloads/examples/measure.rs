//! What the benchmarks run: one load on one file, or the memory walker, with its figures as JSON on one line.
//!
//! `measure storage PATH read|write|fill|verify sequential|random BLOCK_BYTES DEPTH MILLISECONDS`
//! `measure memory walk|stream MEBIBYTES MILLISECONDS`

use std::{path::Path, process::ExitCode, sync::atomic::AtomicBool, time::Duration};

use appliance_model::Serial;
use firmware_checks_workloads::{
    Watch,
    drive::{Load, Measured, Order, Payload, Target, Writable, WriteConsent, stamp::Stamp},
    memory::{self, Ram},
};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let said = match words.as_slice() {
        ["storage", path, way, order, rest @ ..] => storage(path, way, order, rest),
        ["memory", what, mebibytes, milliseconds] => memory(what, mebibytes, milliseconds),
        _ => Err("measure storage|memory …: the head of this file says what follows".into()),
    };
    match said {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn storage(path: &str, way: &str, order: &str, rest: &[&str]) -> Result<String, String> {
    let numbers: Vec<u32> = rest.iter().filter_map(|word| word.parse().ok()).collect();
    let [block_bytes, depth, milliseconds] = *numbers.as_slice() else {
        return Err("block size, depth and milliseconds are numbers".into());
    };
    let order = match order {
        "sequential" => Order::Sequential,
        "random" => Order::Random { seed: 0x2545_f491_4f6c_dd1d },
        _ => return Err(format!("{order} is no order")),
    };
    let load = Load { order, block_bytes, depth: u16::try_from(depth).map_err(|error| error.to_string())? };
    let serial = Serial::parse("MEASURED").ok_or("no serial")?;
    let (stop, time) = (AtomicBool::new(false), Duration::from_millis(milliseconds.into()));
    let watch = Watch::new(&stop, &|_| ());
    let target = Target::open(Path::new(path), &serial)?;
    if way == "read" {
        return target.read(load, target.whole(), time, watch).map(|measured| show(&measured));
    }
    let writable =
        Writable::open(Path::new(path), &serial, WriteConsent::given(serial.clone(), target.whole()))?;
    let stamp = Stamp { seed: 1, generation: 1 };
    match way {
        "write" => writable.write(load, Payload::Same, time, watch).map(|measured| show(&measured)),
        "fill" => writable.fill(load, stamp, watch).map(|measured| show(&measured)),
        "verify" => {
            let checked = writable.verify(load, stamp, watch)?;
            match checked.mismatches.count {
                0 => Ok(show(&checked.measured)),
                wrong => Err(format!("{wrong} sectors are wrong: {:?}", checked.mismatches.kept)),
            }
        }
        _ => Err(format!("{way} is nothing that can be done")),
    }
}

/// The walk's rate, or that of STREAM's triad, on all CPUs.
fn memory(what: &str, mebibytes: &str, milliseconds: &str) -> Result<String, String> {
    let numbers: Vec<u32> = [mebibytes, milliseconds].iter().filter_map(|word| word.parse().ok()).collect();
    let [mebibytes, milliseconds] = *numbers.as_slice() else {
        return Err("size and time are numbers".into());
    };
    let mut nodes = memory::nodes(Path::new("/"), 900)?;
    let each = (u64::from(mebibytes) << 20) / (nodes.len() as u64);
    nodes.iter_mut().for_each(|node| node.bytes = node.bytes.min(each));
    let time = Duration::from_millis(milliseconds.into());
    if what == "stream" {
        let streamed = memory::stream(&nodes, time)?;
        return Ok(format!(
            "{{\"mebibytes_per_second\":{},\"best_mebibytes_per_second\":{},\"busy_mebibytes_per_second\":{}}}",
            streamed.mebibytes_per_second,
            streamed.best_mebibytes_per_second,
            streamed.busy_mebibytes_per_second
        ));
    }
    let stop = AtomicBool::new(false);
    let watch = Watch::new(&stop, &|_| ());
    let walked = memory::walk(&nodes, &Ram, time, Path::new("/"), watch)?;
    Ok(format!(
        "{{\"mebibytes_per_second\":{},\"busy_mebibytes_per_second\":{},\"bytes\":{},\"rounds\":{},\"errors\":{},\
         \"locked\":{}}}",
        walked.mebibytes_per_second(),
        walked.busy_mebibytes_per_second,
        walked.bytes,
        walked.rounds,
        walked.errors,
        walked.locked
    ))
}

fn show(measured: &Measured) -> String {
    let seconds = measured.time.as_secs_f64();
    let latency = measured.latency;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let rate = |amount: u64| amount as f64 / seconds;
    format!(
        "{{\"bytes\":{},\"operations\":{},\"errors\":{},\"seconds\":{seconds:.6},\"mebibytes_per_second\":{:.3},\
         \"operations_per_second\":{:.1},\"p50_microseconds\":{},\"p99_microseconds\":{}}}",
        measured.bytes,
        measured.operations,
        measured.errors,
        rate(measured.bytes) / f64::from(1 << 20),
        rate(measured.operations),
        latency.p50_microseconds,
        latency.p99_microseconds
    )
}
