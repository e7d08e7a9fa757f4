//! `scalerforge chain what-if`: a commitment looked at before it is made.
//!
//! It reckons with declared numbers, signs nothing and asks no chain; earnings are not forecast.  With a host its drives'
//! counters and its capacity come from the appliance.

use std::{fs::File, io::Read as _, path::PathBuf, process::ExitCode, time::SystemTime};

use anyhow::{Context as _, anyhow, bail};
use appliance_api::{operator::HostDetail, what_if::WhatIfBegin};
use appliance_collateral::{Answer, Commitment, DriveLife, Numbers, Sheet, TEMPLATE, WearEnd, sheet, tokens};
use appliance_model::{Day, HostId, Icnt, PassportId, Seconds, inventory::Inventory, units::Manifest};
use clap::Args;

use crate::{client::Appliance, host::print, say};

/// A file of numbers is a page long.
const FILE_BYTES_MAX: u64 = 1 << 20;
const DAY: u64 = 86_400;

#[derive(Debug, Args)]
pub(crate) struct WhatIf {
    /// Host id: its capacity and its drives' counters are taken from the appliance.
    host: Option<HostId>,
    /// The numbers, TOML; `--template` prints one.
    #[arg(long, value_name = "FILE", required_unless_present = "template")]
    numbers: Option<PathBuf>,
    /// Print a file of numbers to begin with.
    #[arg(long)]
    template: bool,
    /// Another price for one unit of capacity and day, ICNT; may be named more than once.
    #[arg(long, value_name = "ICNT", value_parser = price)]
    price: Vec<Icnt>,
    /// Another commitment, days; may be named more than once.
    #[arg(long, value_name = "DAYS")]
    commitment: Vec<u32>,
    /// A passport that the owner holds, by its number: what it is worth is taken from the appliance.
    #[arg(long, value_name = "NUMBER")]
    passport: Option<PassportId>,
    #[command(flatten)]
    appliance: Appliance,
}

fn price(text: &str) -> Result<Icnt, String> {
    tokens(text).ok_or_else(|| format!("`{text}` is no amount of ICNT: write 12 or 12.5"))
}

pub(super) fn run(call: &WhatIf) -> anyhow::Result<ExitCode> {
    let Some(file) = call.numbers.as_ref().filter(|_| !call.template) else {
        say!("{}", TEMPLATE.trim_end());
        return Ok(ExitCode::SUCCESS);
    };
    let mut text = String::new();
    let opened = File::open(file).with_context(|| format!("read {}", file.display()))?;
    opened
        .take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(|| format!("read {}", file.display()))?;
    let mut numbers: Numbers = toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..=span.start)).unwrap_or_default();
        let (file, line, message) = (file.display(), before.lines().count(), error.message());
        anyhow!("{file}, line {line}: {message}; `chain what-if --template` prints a file that is right")
    })?;
    if let Some(host) = &call.host {
        call.ask(host, &mut numbers)?;
    }
    if let Some(number) = call.passport {
        call.ask_for(number, &mut numbers)?;
    }
    let sheet = call.reckon(&numbers)?;
    if call.appliance.json {
        print(&sheet)?;
    } else {
        tell(&sheet);
    }
    Ok(ExitCode::SUCCESS)
}

impl WhatIf {
    /// Capacity and drives of a host.
    fn ask(&self, host: &HostId, numbers: &mut Numbers) -> anyhow::Result<()> {
        let detail: HostDetail = self.appliance.get(&format!("/api/v1/hosts/{host}"))?;
        let other = "the appliance is of another version";
        let Some(inventory) = detail.inventory else {
            bail!("host {host} has no inventory yet; `host why {host}` says where it is");
        };
        let inventory: Inventory = serde_json::from_value(inventory).context(other)?;
        if let Some(manifest) = detail.manifest {
            numbers.node.capacity = serde_json::from_value::<Manifest>(manifest).context(other)?.capacity;
        }
        let endurance = numbers.drives.endurance_tb.map(|tb| tb.saturating_mul(1_000_000_000_000));
        numbers.drives.drive = inventory
            .drives
            .iter()
            .map(|drive| DriveLife { endurance_bytes: endurance, ..DriveLife::of(drive) })
            .collect();
        Ok(())
    }

    /// What the chain says of a passport.
    fn ask_for(&self, number: PassportId, numbers: &mut Numbers) -> anyhow::Result<()> {
        let begin: WhatIfBegin = self.appliance.get("/api/v1/chain/what-if")?;
        let wanted = number.to_string();
        let Some(found) = begin.passports.into_iter().find(|one| one.number == wanted) else {
            bail!(
                "the owner holds no passport {number}, or the chain does not answer; `scalerforge chain status` says"
            );
        };
        let passport =
            serde_json::from_value(found.passport).context("the appliance is of another version")?;
        numbers.passport = Some(passport);
        Ok(())
    }

    fn reckon(&self, numbers: &Numbers) -> anyhow::Result<Sheet> {
        let today = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        Ok(sheet(numbers, &self.price, &self.commitment, Day::of_unix(Seconds(today)))?)
    }
}

fn tell(sheet: &Sheet) {
    let day = |at: Seconds| Day::of_unix(at).to_string();
    let Commitment { from, length } = sheet.commitment;
    say!("committed from {} to {}, {}", day(from), day(sheet.commitment.until()), span(length));
    for found in &sheet.prices {
        price_row(found);
    }
    say!("\nwhat ends before the commitment does, and what is not known");
    for limit in &sheet.limits {
        let ends = match (limit.ends, limit.short_by) {
            (WearEnd::At(at), Some(short)) => format!("ENDS {}, {} too early", day(at), span(short)),
            (WearEnd::At(at), None) => format!("lasts until {}", day(at)),
            (WearEnd::Never, _) => "lasts".into(),
            (WearEnd::Unknown, _) => "not known".into(),
        };
        say!("  {:<24} {ends}: {}", limit.what, limit.assumption);
    }
    say!("\ncover, if nothing is added and nothing slashed");
    say!("  {:<10}  {:>22}  {:>22}  {:>22}", "day", "passport", "missing: yours", "missing: anybody's");
    for row in &sheet.cover {
        let (own, network) = (row.gap.node.to_string(), row.gap.network.to_string());
        say!("  {}  {:>22}  {own:>22}  {network:>22}", day(row.at), row.passport.to_string());
    }
    if sheet.exposure.is_empty() {
        return;
    }
    say!("\nan anomaly that is not restored costs, so long after its report");
    for row in &sheet.exposure {
        let share = format!("{}.{:02} %", row.bps / 100, row.bps % 100);
        say!("  {:>16}  {share:>8}  {} of yours, {} of delegators'", span(row.after), row.own, row.delegated);
    }
}

fn price_row(found: &Answer) {
    let offer = &found.offer;
    say!("\nat {} for a unit and day, committed for {}", offer.price_per_day, span(offer.commitment));
    say!("  costs              {} in all, {} a day", found.costs, found.cost_per_day);
    say!("  a booked day       {}", found.brings_per_day);
    match (found.break_even_days, found.break_even_share) {
        (Some(days), Some(share)) => {
            let (whole, tenth) = (share.0 / 10, share.0 % 10);
            say!("  costs are paid     by {days} booked days: {whole}.{tenth} % of the commitment");
        }
        (_, _) => say!("  costs are paid     never: not if every day is booked"),
    }
    if let Some(least) = found.least_price_per_day {
        say!("  the least price    {least}, every day booked");
    }
    if let Some((fee, margin)) = found.longest_booking_pays {
        let longest = span(found.longest_booking);
        say!("  longest booking    {longest}: its customer pays {fee}, and {margin} to the network");
        say!("                     can begin until {} after the registration", span(found.last_begin));
    }
}

/// Seconds as days, or as hours and seconds where that is shorter.
fn span(seconds: Seconds) -> String {
    match (seconds.0 / DAY, seconds.0 % DAY) {
        (days, 0) => format!("{days} days"),
        (0, rest) if rest % 3600 == 0 => format!("{} h", rest / 3600),
        (0, rest) if rest % 3600 == 1 => format!("{} h and 1 s", rest / 3600),
        (days, 1) => format!("{days} days and 1 s"),
        (days, rest) => format!("{days} days {} h", rest / 3600),
    }
}
