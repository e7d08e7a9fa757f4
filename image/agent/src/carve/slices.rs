//! Where systemd runs, the tree of control groups is its own: the groups are slices that it is told of in unit files of
//! this boot (systemd.slice(5), systemd.resource-control(5)).  What it has no word for is written beside it.

use std::{fs, io, path::Path, process::Command};

use appliance_carve::cpu_list;
use appliance_model::real::Group;

use super::{Calls, Gate, SLICE, record::Record, text};

/// Where the host image has it.
const SYSTEMCTL: &str = "/usr/bin/systemctl";

/// Has systemd do something.
pub(crate) fn tell(words: &[&str]) -> io::Result<()> {
    let output = Command::new(SYSTEMCTL).args(words).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("systemctl {}: {}", words.first().unwrap_or(&""), said.trim())))
}

/// Writes the slices and starts them.  Whether they stand.
pub(crate) fn make(
    (units, calls): (&Path, Calls),
    wanted: &[Group],
    record: &mut Record,
    gate: Gate<'_>,
    gaps: &mut Vec<String>,
) -> io::Result<bool> {
    let mut start = vec!["start"];
    for group in wanted {
        let name = name(group);
        let (file, content) = (units.join(name), unit(group));
        start.push(name);
        if text(&file).as_deref() == Some(content.trim()) {
            continue;
        }
        gate(&file)?;
        record.slice(name)?;
        record.group(&group.path)?;
        // systemd may read at any time, and half a file is another one.
        let aside = file.with_extension("new");
        fs::write(&aside, content).and_then(|()| fs::rename(&aside, &file))?;
    }
    // Both change nothing where nothing is to be changed; who was killed in between does not know.
    let told = (calls.systemd)(&["daemon-reload"]).and_then(|()| (calls.systemd)(&start));
    if let Err(error) = &told {
        gaps.push(format!("systemd does not make the units' slices: {error}"));
    }
    Ok(told.is_ok())
}

/// Takes the slices away, if nobody runs in them.
pub(crate) fn undo(
    (units, groups, calls): (&Path, &Path, Calls),
    record: &Record,
    gate: Gate<'_>,
) -> io::Result<()> {
    if record.slices().next().is_none() {
        return Ok(());
    }
    let events = text(&groups.join(SLICE).join("cgroup.events")).unwrap_or_default();
    if events.lines().any(|line| line == "populated 1") {
        return Err(io::Error::other(format!("processes run in {SLICE}: end them first")));
    }
    if groups.join(SLICE).is_dir() {
        gate(units)?;
        // With it go all that are below it.
        (calls.systemd)(&["stop", SLICE])?;
    }
    for name in record.slices().rev() {
        let file = units.join(name);
        if file.exists() {
            gate(&file)?;
            fs::remove_file(&file)?;
        }
    }
    (calls.systemd)(&["daemon-reload"])
}

fn name(group: &Group) -> &str {
    group.path.rsplit_once('/').map_or(group.path.as_str(), |(_, name)| name)
}

fn unit(group: &Group) -> String {
    let Group { unit, cpus, nodes, memory_bytes, .. } = group;
    let mut text = format!("[Unit]\nDescription=Scalerforge unit {unit}\n[Slice]\n");
    for (word, numbers) in [("AllowedCPUs", cpus), ("AllowedMemoryNodes", nodes)] {
        if !numbers.is_empty() {
            text += &format!("{word}={}\n", cpu_list(numbers));
        }
    }
    if let Some(bytes) = memory_bytes {
        text += &format!("MemoryMax={bytes}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_in_systemds_words() {
        let mut group = Group {
            unit: "compute-0001".into(),
            path: "scalerforge.slice/scalerforge-compute.slice/scalerforge-compute-0001.slice".into(),
            cpus: vec![2, 3, 9],
            nodes: vec![0],
            memory_bytes: None,
            large_bytes: Some(1 << 30),
            alone: false,
        };
        assert_eq!(name(&group), "scalerforge-compute-0001.slice");
        let head = "[Unit]\nDescription=Scalerforge unit compute-0001\n[Slice]\n";
        assert_eq!(unit(&group), format!("{head}AllowedCPUs=2-3,9\nAllowedMemoryNodes=0\n"));
        (group.cpus, group.nodes, group.memory_bytes) = (vec![], vec![], Some(4096));
        assert_eq!(unit(&group), format!("{head}MemoryMax=4096\n"));
    }

    #[test]
    fn a_refusal_has_systemds_words() {
        // No systemd runs where this is tested, or none that knows such a verb.
        assert!(tell(&["no-such-verb"]).is_err());
    }
}
